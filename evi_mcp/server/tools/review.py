"""Looking back on a call."""

from typing import Annotated

from mcp_types import CallToolResult

from evi_mcp.access.callers import Access
from evi_mcp.server.tools.spec import ChatId, MaxChars, ToolContext, ToolSpec, desk_of, result
from evi_mcp.views import review


async def review_chat(
    ctx: ToolContext, chat_id: ChatId, max_chars: MaxChars = 16_000
) -> Annotated[CallToolResult, review.Review]:
    """Show a call on one page: utterances, voices, tool calls, commands, the end."""
    desk = desk_of(ctx)
    chat = await desk.reach(chat_id)
    shown = review.review(chat.record, desk.cursors, desk.clock.elapsed(), max_chars)
    return result(ctx, review.text(shown), shown)


TOOLS = (ToolSpec(review_chat, "Review a call", Access.MONITOR),)
