"""The chat's own tool calls: what EVI asked for, and answering it."""

from typing import Annotated, Literal

import mcp_types as types
from pydantic import Field

from evi_mcp.access.callers import Access
from evi_mcp.server.tools.spec import (
    ChatId,
    ToolContext,
    ToolSpec,
    WaitForEffect,
    desk_of,
    receipt,
    result,
)
from evi_mcp.server.tools.written import Written
from evi_mcp.views import shapes, structure, text


async def list_tool_calls(
    ctx: ToolContext,
    chat_id: Annotated[str, Field(description="Empty for all attached chats.")] = "",
    status: Annotated[
        Literal["pending", "running", "answered", "failed", "superseded", "unanswered", "all"],
        Field(
            description="Which ones; `pending` wait for an answer, `running` are EVI's own tools at work, `unanswered`"
            " were open when the chat ended."
        ),
    ] = "pending",
) -> Annotated[types.CallToolResult, shapes.ToolCallList]:
    """List the tool calls of a chat."""
    desk = desk_of(ctx)
    chats = [await desk.reach(chat_id)] if chat_id else desk.chats()
    calls = [call for chat in chats for call in chat.record.tool_calls if status in ("all", call.status.value)]
    calls.sort(key=lambda call: call.number)
    shown = structure.tool_calls(calls, desk.clock.elapsed(), with_chat_id=not chat_id)
    return result(ctx, text.tool_calls(shown, status), shown)


async def answer_tool_call(
    ctx: ToolContext,
    chat_id: ChatId,
    tool_call_id: Annotated[str, Field(description="From the `tool_call` event or `list_tool_calls`.")],
    content: Annotated[
        Written,
        Field(
            description="The result, which EVI's LLM puts into words: text or JSON, which a bot without an LLM speaks."
        ),
    ],
    is_error: Annotated[bool, Field(description="Whether the tool failed.")] = False,
    error: Annotated[str, Field(description="With is_error: what went wrong, for the record only.")] = "",
    code: Annotated[str, Field(description="With is_error: a code of yours, for the record only.")] = "",
    wait_for_effect_s: WaitForEffect = 2,
) -> Annotated[types.CallToolResult, shapes.Receipt]:
    """Answer a pending tool call; the first answer wins."""
    done = await desk_of(ctx).answer_tool_call(
        chat_id,
        tool_call_id,
        content,
        is_error=is_error,
        error=error or None,
        code=code or None,
        wait_s=wait_for_effect_s,
    )
    return receipt(ctx, done)


TOOLS = (
    ToolSpec(list_tool_calls, "List tool calls", Access.MONITOR),
    ToolSpec(answer_tool_call, "Answer a tool call", Access.COACH, read_only=False, idempotent=False),
)
