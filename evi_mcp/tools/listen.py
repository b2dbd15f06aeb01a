"""Reading what happens: by cursor, by waiting, and as a transcript."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, cast

import anyio
from mcp_types import CallToolResult
from pydantic import Field

from evi_mcp.app import App
from evi_mcp.chat.log import EARLIEST, LATEST, Position
from evi_mcp.chat.pages import Filter, Page, read_page
from evi_mcp.config import Access
from evi_mcp.errors import InvalidArgument
from evi_mcp.registry.live_chat import LiveChat
from evi_mcp.registry.waiting import Wait, WokenBy
from evi_mcp.tools.spec import AppContext, ChatId, Limit, MaxChars, ToolSpec, Types, app_of, result
from evi_mcp.views import shapes, structure, text
from evi_mcp.views.lines import fit, line_length

HEARTBEAT_S = 5.0

After = Annotated[
    str,
    Field(description="`cursor` of an earlier result, `earliest` or `latest`; events after it are returned."),
]


async def read_events(
    ctx: AppContext,
    chat_id: ChatId,
    after: After = EARLIEST,
    types: Types = None,
    limit: Limit = 50,
    max_chars: MaxChars = 8000,
) -> Annotated[CallToolResult, shapes.EventPage]:
    """Read a chat's events after a cursor, without waiting; reading consumes nothing."""
    app = app_of(ctx)
    position = app.registry.cursors.read(after)
    return _Reading(app, [app.chat(chat_id)], [chat_id], position, types or [], limit, max_chars).result(ctx)


async def wait_for_events(
    ctx: AppContext,
    after: After = LATEST,
    chat_ids: Annotated[list[str] | None, Field(description="Chats to wait on; omit for all attached chats.")] = None,
    types: Types = None,
    timeout_s: Annotated[float, Field(ge=0, le=50, description="Seconds to wait at most.")] = 25,
    limit: Limit = 50,
    max_chars: MaxChars = 8000,
) -> Annotated[CallToolResult, shapes.WaitPage]:
    """Wait until any of the chats has an event after the cursor, or ends; returns at once if there is one."""
    app = app_of(ctx)
    position = app.registry.cursors.read(after)
    chats = app.chats(chat_ids or None)
    if not chats:
        raise InvalidArgument(
            "no chat is attached, so there is nothing to wait for; call list_chats(scope='active') and attach_chat."
        )
    reading = _Reading(app, chats, chat_ids or [], position, types or [], limit, max_chars)
    # A chat that ended since the cursor ends the wait, whatever types it asks for.
    if any((chat.record.over_seq or 0) > position.seq for chat in chats) or all(chat.over for chat in chats):
        return reading.result(ctx, WokenBy.CHAT_ENDED)
    page = reading.page(max_chars)
    if page.events or page.more:
        return reading.result(ctx, WokenBy.EVENT)
    wait = await _sleep(ctx, chats, everywhere=not chat_ids, wanted=reading.wanted, seconds=timeout_s)
    if not chat_ids:
        every = dict.fromkeys([*chats, *app.chats()])
        reading.chats = [chat for chat in every if not chat.came_to_nothing]
    return reading.result(ctx, wait.by, wait.reason)


async def _sleep(ctx: AppContext, chats: list[LiveChat], *, everywhere: bool, wanted: Filter, seconds: float) -> Wait:
    """Sleeps until an event is logged that counts. `everywhere` covers chats that are attached meanwhile, too."""
    wait = Wait(wanted.shows)
    places = [app_of(ctx).registry] if everywhere else chats
    for place in places:
        place.add_listener(wait.see)
    try:
        left = seconds
        while wait.by is WokenBy.TIMEOUT and left > 0:
            started = anyio.current_time()
            await wait.sleep(min(left, HEARTBEAT_S))
            left -= anyio.current_time() - started
            if wait.by is WokenBy.TIMEOUT:
                await ctx.report_progress(seconds - left, seconds, f"waiting on {len(chats)} chats")
    finally:
        for place in places:
            place.remove_listener(wait.see)
    return wait


async def get_transcript(
    ctx: AppContext,
    chat_id: ChatId,
    last_turns: Annotated[int, Field(ge=1, le=2000, description="Most turns to return, the newest ones.")] = 20,
    max_chars: MaxChars = 8000,
) -> Annotated[CallToolResult, shapes.Transcript]:
    """Show what was said, turn by turn, with the strongest expressions of each voice."""
    app = app_of(ctx)
    shown = text.transcript_within(app.chat(chat_id).record, app.registry.cursors, last_turns, max_chars)
    return result(ctx, text.transcript(chat_id, shown), shown)


@dataclass
class _Reading:
    """What a call wants to read, and how much of it fits."""

    app: App
    chats: list[LiveChat]
    chat_ids: list[str]
    position: Position
    types: list[str]
    limit: int
    max_chars: int

    @property
    def wanted(self) -> Filter:
        """The events that belong on the page."""
        return Filter(frozenset(self.types) or None)

    def page(self, room: int) -> Page:
        """The next page, with at most `room` characters of events."""
        several = len(self.chats) > 1
        return read_page(
            [chat.record.log for chat in self.chats],
            self.position,
            self.wanted,
            limit=self.limit,
            max_chars=room,
            length=lambda item: line_length(item, with_chat_id=several),
            upto=self.app.registry.cursors.last_seq,
        )

    def result(self, ctx: AppContext, woken_by: WokenBy | None = None, reason: str | None = None) -> CallToolResult:
        """The page as a result. Its own lines count too, so it is read again, shorter, until all of it fits."""
        room, shortest = self.max_chars, math.inf
        while True:
            page = self.page(room)
            events = page.events
            if len(events) == 1:  # the one event that may be larger than a page
                events = [fit(events[0], room, with_chat_id=len(self.chats) > 1)]
            records = [chat.record for chat in self.chats]
            shown: dict[str, Any] = {**structure.page(page, events, records, self.app.registry.cursors)}
            if woken_by is not None:
                shown["woken_by"] = woken_by.value
            if reason is not None:
                shown["reason"] = reason
            tool = "read_events" if page.more and woken_by is None else "wait_for_events"
            written = text.page(cast(shapes.EventPage, shown), tool=tool, chat_ids=self.chat_ids, types=self.types)
            over = len(written) - self.max_chars
            if over <= 0 or room <= 1 or (len(events) <= 1 and len(written) >= shortest):
                return result(ctx, written, shown)
            room, shortest = max(1, room - over), len(written)


TOOLS = (
    ToolSpec(read_events, "Read events", Access.MONITOR),
    ToolSpec(wait_for_events, "Wait for events", Access.MONITOR),
    ToolSpec(get_transcript, "Get the transcript", Access.MONITOR),
)
