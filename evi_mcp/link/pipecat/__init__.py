"""Supervision of a Pipecat bot. Needs `pipecat-ai`, which the bot has; nothing else here imports it."""

from evi_mcp.link.pipecat.supervision import Supervision, supervise

__all__ = ["Supervision", "supervise"]
