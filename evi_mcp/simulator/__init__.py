"""A stand-in for EVI: a loopback service with live chats, for trying things out and for tests.

`Simulator` is the whole of it. What it says is decided by code without I/O: scripts (`scenario`), one chat
(`engine`), all chats (`service`), the addresses (`api`). It shares the messages of `evi_mcp.protocol` with
the client and nothing else, so that a mistake in the one cannot hide in the other.
"""

from evi_mcp.simulator.simulator import Simulator

__all__ = ["Simulator"]
