"""A stand-in for EVI: a hub with scripted bots on it, for trying things out and for tests.

`Simulator` is the whole of it. What is said is decided by code without I/O: scripts (`scenario`), one call
(`scripted_call`, with EVI in `assistant` and the caller in `scripted_user`). Consumers, histories and addresses are
the hub's; the chat's own socket is here (`primary`), for the hub's chats have none.
"""

from evi_mcp.simulator.simulator import Simulator

__all__ = ["Simulator"]
