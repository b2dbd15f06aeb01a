"""Which chats there are, and following them."""

from typing import Annotated, Literal

import mcp_types as types
from pydantic import Field

from evi_mcp.access.callers import Access
from evi_mcp.server.tools.spec import ChatId, ToolContext, ToolSpec, desk_of, result
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.times import iso
from evi_mcp.views import shapes, structure, text

ACTIVE_NOTE = (
    "A chat can be attached to only if it was opened with allow_connection=true, which the service does not list."
)


async def list_chats(
    ctx: ToolContext,
    scope: Annotated[
        Literal["attached", "active"],
        Field(description="`attached` to this server, or `active` at the service, newest first."),
    ] = "attached",
) -> Annotated[types.CallToolResult, shapes.ChatList]:
    """List chats: those attached to this server, or those the service says are active."""
    desk = desk_of(ctx)
    elapsed = desk.clock.elapsed()
    attached = {chat.chat_id: structure.summary(chat.record, desk.cursors, elapsed) for chat in desk.chats()}
    shown: shapes.ChatList
    if scope == "attached":
        shown = {"chats": list(attached.values())}
    else:
        found, forbidden, more = await desk.active_chats()
        note = ACTIVE_NOTE + (" There are more chats than are shown." if more else "")
        if forbidden:
            note += f" {forbidden} more may not be touched by this server (EVI_MCP_ALLOWED_CHATS)."
        shown = {"chats": [], "note": note}
        for chat in found:
            summary = attached.get(chat.chat_id, {"chat_id": chat.chat_id, "attached": False})
            summary["status"] = chat.status
            if chat.chat_group_id:
                summary["chat_group_id"] = chat.chat_group_id
            if chat.started_ms is not None:
                summary["started_at"] = iso(chat.started_ms / 1000)
            shown["chats"].append(summary)
    return result(ctx, text.chats(shown, scope), shown)


async def attach_chat(ctx: ToolContext, chat_id: ChatId) -> Annotated[types.CallToolResult, shapes.Chat]:
    """Follow a live chat from now on; returns once its history so far has arrived."""
    return _chat(ctx, await desk_of(ctx).attach(chat_id), attaching=True)


async def detach_chat(ctx: ToolContext, chat_id: ChatId) -> Annotated[types.CallToolResult, shapes.Chat]:
    """Stop following a chat, for all agents of this server; the chat itself goes on, its log here is dropped."""
    desk = desk_of(ctx)
    shown = structure.chat((await desk.detach(chat_id)).record, desk.cursors, desk.clock.elapsed())
    return result(ctx, text.detached(shown), shown)


async def get_chat(ctx: ToolContext, chat_id: ChatId) -> Annotated[types.CallToolResult, shapes.Chat]:
    """Show the state of an attached chat, its pending tool calls and its last turns."""
    return _chat(ctx, desk_of(ctx).chat(chat_id))


def _chat(ctx: ToolContext, chat: LiveChat, *, attaching: bool = False) -> types.CallToolResult:
    desk = desk_of(ctx)
    shown = structure.chat(chat.record, desk.cursors, desk.clock.elapsed())
    if attaching and desk.chats() == [chat]:
        # A place in all chats, for there is no other in which it could leave something out.
        shown["cursor"] = desk.cursors.at(chat.record.log.last_seq)
    return result(ctx, text.chat(shown), shown)


TOOLS = (
    ToolSpec(list_chats, "List chats", Access.MONITOR),
    ToolSpec(attach_chat, "Attach to a chat", Access.MONITOR, read_only=False),
    ToolSpec(detach_chat, "Detach from a chat", Access.MONITOR, read_only=False),
    ToolSpec(get_chat, "Get a chat", Access.MONITOR),
)
