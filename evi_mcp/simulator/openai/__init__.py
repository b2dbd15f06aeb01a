"""A stand-in for OpenAI Realtime: its sideband and the REST calls of a running call, on this machine.

Every frame is held to the official types by the tests. Where the service's behaviour is not documented the choice is
this simulator's own, and the stricter one: an object in `session.update` replaces the one that was there.
"""

from evi_mcp.simulator.openai.service import OpenAISimulator

__all__ = ["OpenAISimulator"]
