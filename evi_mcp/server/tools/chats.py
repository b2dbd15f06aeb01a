"""Which chats there are, and following them."""

from collections.abc import Mapping
from typing import Annotated, Literal

import mcp_types as types
from pydantic import Field

from evi_mcp.access.callers import Access
from evi_mcp.errors import CallerLimit, EviMcpError, InvalidArgument, TooManyChats
from evi_mcp.server.tools.spec import ChatId, ToolContext, ToolSpec, desk_of, result
from evi_mcp.supervision.desk import Desk
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.times import iso
from evi_mcp.upstream.directory import ServiceChat
from evi_mcp.views import shapes, structure, text

ACTIVE = "active"
"""Stands for all active chats of the service, where a chat is named to be attached."""
MAX_NAMED = 100
"""Chats that one call may name."""
MAX_SHOWN = 20
"""Chats that one call shows."""
FEW = 3
"""With more chats than these, each is shown with its last turn only."""
ACTIVE_NOTE = (
    "A chat can be attached to only if it was opened with allow_connection=true, which the service does not list."
)


async def list_chats(
    ctx: ToolContext,
    scope: Annotated[
        Literal["attached", "active"],
        Field(description="`active`: all of the service, newest first."),
    ] = "attached",
) -> Annotated[types.CallToolResult, shapes.ChatList]:
    """List chats and what they are about."""
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
        shown = {"chats": [_as_listed(chat, attached.get(chat.chat_id)) for chat in found], "note": note}
    return result(ctx, text.chats(shown, scope), shown)


def _as_listed(chat: ServiceChat, attached: shapes.ChatSummary | None) -> shapes.ChatSummary:
    """A chat of the service, with what is known of it here if it is attached."""
    summary: shapes.ChatSummary = attached or {"chat_id": chat.chat_id, "attached": False}
    summary["status"] = chat.status
    if chat.chat_group_id:
        summary["chat_group_id"] = chat.chat_group_id
    if chat.started_ms is not None:
        summary["started_at"] = iso(chat.started_ms / 1000)
    if chat.config:
        summary["config"] = chat.config[: text.MAX_ABOUT]
    if chat.metadata:
        summary["metadata"] = chat.metadata[: text.MAX_ABOUT]
    if chat.source:
        summary.setdefault("source", chat.source)
    return summary


async def attach_chat(
    ctx: ToolContext,
    chat_id: Annotated[
        str,
        Field(
            description="Or `active`: all active chats.",
            json_schema_extra={"x-mcp-header": "Chat-Id"},
        ),
    ] = "",
    chat_ids: Annotated[list[str], Field(description="Several of them.")] = [],  # noqa: B006 - nothing changes it, and a schema has a plain default
    recap: Annotated[
        bool, Field(description="Where a service gives no history, ask its model what was said, which costs tokens.")
    ] = False,
) -> Annotated[types.CallToolResult, shapes.Attached]:
    """Follow chats (`active`: all active ones) from now on; returns when their history has arrived."""
    desk = desk_of(ctx)
    named = list(dict.fromkeys([*([chat_id] if chat_id else []), *chat_ids]))
    if not named:
        raise InvalidArgument("name a chat in chat_id, several in chat_ids, or all with chat_id='active'.")
    if len(named) > MAX_NAMED:
        raise InvalidArgument(f"attach_chat takes {MAX_NAMED} chats at once and was given {len(named)}.")
    if len(named) == 1 and named[0] != ACTIVE:
        chat = await desk.attach(named[0])
        place = desk.place_of([chat])
        if recap and (why := await desk.recap(chat)) is not None:
            raise InvalidArgument(f"{chat.chat_id} is attached, and there is no recap: {why}")
        alone: shapes.Chat = _shown(desk, chat)
        alone["cursor"] = place
        return result(ctx, text.chat(alone), alone)
    notes = list[str]()
    if ACTIVE in named:
        found, forbidden, more = await desk.active_chats()
        named = list(dict.fromkeys([*(one for one in named if one != ACTIVE), *(chat.chat_id for chat in found)]))
        if not named:
            raise InvalidArgument("no chat is active that may be attached; list_chats(scope='active') shows them.")
        if forbidden:
            notes.append(f"{forbidden} more are active and may not be touched by this server (EVI_MCP_ALLOWED_CHATS)")
        if more:
            notes.append("the service has more active chats than it lists at once")
    outcomes = await desk.attach_all(named)
    if recap:
        for chat in dict.fromkeys(chat for chat in outcomes.values() if isinstance(chat, LiveChat)):
            if (why := await desk.recap(chat)) is not None:
                notes.append(f"there is no recap of {chat.chat_id}: {why.rstrip('.')}")
    return _several(ctx, desk, outcomes, notes)


def _several(
    ctx: ToolContext, desk: Desk, outcomes: Mapping[str, LiveChat | EviMcpError], notes: list[str]
) -> types.CallToolResult:
    """What came of attaching several chats."""
    chats = list(dict.fromkeys(chat for chat in outcomes.values() if isinstance(chat, LiveChat)))
    errors = {chat_id: error for chat_id, error in outcomes.items() if isinstance(error, EviMcpError)}
    beyond = [error for error in errors.values() if isinstance(error, TooManyChats | CallerLimit)]
    failed: list[shapes.NotHad] = [
        {"chat_id": chat_id, "reason": str(error)} for chat_id, error in errors.items() if error not in beyond
    ]
    if not chats:
        why = " ".join(dict.fromkeys(map(str, errors.values())))
        raise InvalidArgument(f"none of {text.counted(len(errors), 'chat')} could be attached: {why}")
    # Those that somebody waits in come first.
    shown_first = sorted(chats, key=lambda chat: not chat.record.tool_calls.pending())[:MAX_SHOWN]
    shown: shapes.Attached = {
        "cursor": desk.place_of(chats),
        "chats": [_shown(desk, chat, turns=3 if len(chats) <= FEW else 1) for chat in shown_first],
    }
    if failed:
        shown["failed"] = failed[:MAX_SHOWN]
        if len(failed) > MAX_SHOWN:
            notes.append(f"{len(failed) - MAX_SHOWN} more could not be attached")
    if len(chats) > MAX_SHOWN:
        notes.append(f"{len(chats) - MAX_SHOWN} more are attached; list_chats shows them")
    if beyond:
        shown["left_out"] = len(beyond)
        notes.append(f"{text.counted(len(beyond), 'chat')} left out: {beyond[0]}")
    if notes:
        shown["note"] = "; ".join(notes)
    return result(ctx, text.attached(shown), shown)


async def detach_chat(ctx: ToolContext, chat_id: ChatId) -> Annotated[types.CallToolResult, shapes.Chat]:
    """Stop following a chat, for all agents; the chat itself goes on."""
    desk = desk_of(ctx)
    shown = structure.chat((await desk.detach(chat_id)).record, desk.cursors, desk.clock.elapsed())
    return result(ctx, text.detached(shown), shown)


async def get_chat(ctx: ToolContext, chat_id: ChatId) -> Annotated[types.CallToolResult, shapes.Chat]:
    """Show a chat's state, pending tool calls and last turns."""
    desk = desk_of(ctx)
    shown = _shown(desk, await desk.reach(chat_id))
    return result(ctx, text.chat(shown), shown)


def _shown(desk: Desk, chat: LiveChat, *, turns: int = structure.LAST_TURNS) -> shapes.Chat:
    shown = structure.chat(chat.record, desk.cursors, desk.clock.elapsed())
    shown["last_turns"] = shown["last_turns"][-turns:]
    return shown


TOOLS = (
    ToolSpec(list_chats, "List chats", Access.MONITOR),
    ToolSpec(attach_chat, "Attach to a chat", Access.MONITOR, read_only=False),
    ToolSpec(detach_chat, "Detach from a chat", Access.MONITOR, read_only=False),
    ToolSpec(get_chat, "Get a chat", Access.MONITOR),
)
