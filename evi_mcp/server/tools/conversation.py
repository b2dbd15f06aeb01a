"""What was said in a chat, and how it sounded."""

from typing import Annotated, Literal

from mcp_types import CallToolResult
from pydantic import Field

from evi_mcp.access.callers import Access
from evi_mcp.server.tools.spec import ChatId, MaxChars, ToolContext, ToolSpec, desk_of, result
from evi_mcp.views import shapes, structure, text


async def get_transcript(
    ctx: ToolContext,
    chat_id: ChatId,
    last_turns: Annotated[int, Field(ge=1, le=2000, description="Most turns to return, the newest ones.")] = 20,
    max_chars: MaxChars = 8000,
) -> Annotated[CallToolResult, shapes.Transcript]:
    """Show what was said, turn by turn, with the strongest expressions."""
    desk = desk_of(ctx)
    chat = await desk.reach(chat_id)
    shown = text.transcript_within(chat.record, desk.cursors, last_turns, max_chars)
    return result(ctx, text.transcript(shown), shown)


async def get_expression(
    ctx: ToolContext,
    chat_id: ChatId,
    speaker: Annotated[Literal["user", "assistant"], Field(description="Whose voice.")] = "user",
    last_turns: Annotated[int, Field(ge=1, le=100, description="Over so many turns, the newest ones.")] = 10,
    top: Annotated[int, Field(ge=1, le=48, description="So many scores, those with the highest mean.")] = 5,
) -> Annotated[CallToolResult, shapes.Expressions]:
    """Show how a voice has sounded: each score turn by turn, its mean and its change."""
    chat = await desk_of(ctx).reach(chat_id)
    shown = structure.expressions(chat.record, speaker, last_turns, top)
    return result(ctx, text.expressions(shown), shown)


TOOLS = (
    ToolSpec(get_transcript, "Get the transcript", Access.MONITOR),
    ToolSpec(get_expression, "Get the expression of a voice", Access.MONITOR),
)
