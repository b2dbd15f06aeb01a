"""What agents can do. `ALL_TOOLS` is the table that the server, its docs and its checks read."""

from evi_mcp.server.tools import chats, conversation, listen, review, settings, speak, tool_calls
from evi_mcp.server.tools.spec import ToolSpec

ALL_TOOLS: tuple[ToolSpec, ...] = (
    *chats.TOOLS,
    *listen.TOOLS,
    *conversation.TOOLS,
    *review.TOOLS,
    *tool_calls.TOOLS,
    *settings.TOOLS,
    *speak.TOOLS,
)

__all__ = ["ALL_TOOLS", "ToolSpec"]
