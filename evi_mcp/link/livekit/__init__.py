"""Supervision of a LiveKit agent. Needs `livekit-agents`, which the agent has; nothing else here imports it."""

from evi_mcp.link.livekit.supervision import Supervision, supervise

__all__ = ["Supervision", "supervise"]
