"""Reading what happens: by cursor, at once or by waiting."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

from mcp_types import CallToolResult
from pydantic import Field, WithJsonSchema

from evi_mcp.access.callers import Access
from evi_mcp.chat.pages import Filter, Page, Start, read_page
from evi_mcp.chat.trigger_forms import SCHEMA, read_triggers
from evi_mcp.clock import Clock
from evi_mcp.errors import InvalidArgument
from evi_mcp.ledger.cursors import EARLIEST, LATEST, Position
from evi_mcp.server.callers import is_one_client
from evi_mcp.server.tools.spec import (
    ChatId,
    Limit,
    MaxChars,
    ToolContext,
    ToolSpec,
    Types,
    desk_of,
    result,
    wants_progress,
)
from evi_mcp.server.tools.wanted import TypesShown, checked, checked_types, is_hopeless
from evi_mcp.supervision.arrivals import Arrival
from evi_mcp.supervision.desk import Desk
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.supervision.waiting import Wait, WokenBy
from evi_mcp.views import shapes, structure, text
from evi_mcp.views.lines import pending_line
from evi_mcp.views.rendering import Rendering

HEARTBEAT_S = 5.0
_NEW = ("new_chats", "more_new_chats")

After = Annotated[
    str,
    Field(description="A `cursor`, `earliest` or `latest`."),
]

Until = Annotated[
    Any,
    WithJsonSchema({"type": "array", "items": SCHEMA}),
    Field(
        description="Triggers: sleep until one is met. event: types, speaker?; expression: score (Anger), at_least,"
        " at_most or rise (against the turns before), turns?, speaker?; text: contains, speaker?; silence,"
        " tool_call_waiting: seconds; turn_end. Any: chat_id?.",
    ),
]


async def read_events(
    ctx: ToolContext,
    chat_id: ChatId,
    after: After = EARLIEST,
    types: Types = [],  # noqa: B006 - nothing changes it, and a schema has a plain default
    limit: Limit = 50,
    max_chars: MaxChars = 8000,
) -> Annotated[CallToolResult, shapes.EventPage]:
    """Read a chat's events after a cursor, without waiting."""
    desk = desk_of(ctx)
    after = after or EARLIEST
    desk.position(after)  # refused before anything is attached
    chat = await desk.reach(chat_id)
    wanted, position = checked_types(types, desk), desk.position(after)
    return _Reading(desk, [chat], [chat.chat_id], position, wanted, limit, max_chars).result(ctx)


async def wait_for_events(
    ctx: ToolContext,
    after: After = LATEST,
    chat_ids: Annotated[list[str], Field(description="Empty for all attached chats.")] = [],  # noqa: B006 - nothing changes it, and a schema has a plain default
    types: Types = [],  # noqa: B006 - nothing changes it, and a schema has a plain default
    until: Until = None,
    timeout_s: Annotated[float, Field(ge=0, le=50, description="Most seconds to wait.")] = 25,
    limit: Limit = 50,
    max_chars: MaxChars = 8000,
) -> Annotated[CallToolResult, shapes.WaitPage]:
    """Wait until a chat has news, meets a trigger of `until`, or ends; show all after the cursor."""
    desk = desk_of(ctx)
    after = after or LATEST
    desk.position(after)  # refused before anything is attached
    triggers = read_triggers(until)
    chats = await desk.reach_all(chat_ids) if chat_ids else desk.chats()
    chat_ids = [chat.chat_id for chat in chats] if chat_ids else []
    position = desk.position(after)
    if not chats and not desk.hears_of_new_chats:
        raise InvalidArgument(
            "no chat is attached, so there is nothing to wait for; call list_chats(scope='active') and attach_chat."
        )
    wanted = checked_types(types, desk)
    triggers = checked(triggers, desk, chats if chat_ids else None)
    reading = _Reading(desk, chats, chat_ids, position, wanted, limit, max_chars)
    start = reading.start()
    shared = not is_one_client(ctx.request_context.request)
    asked = None if shared else (after, repr((chat_ids, types, until, timeout_s, limit, max_chars)))
    with (
        desk.wait(chats if chat_ids else None, start, reading.wanted, triggers, shared=shared) as wait,
        wait.asked(asked, str(ctx.request_id)) as call,
    ):
        # A chat that ended since the cursor ends the wait, whatever it waits for.
        ended = _ended(chats, start)
        if ended is None and (chat_ids or not desk.hears_of_new_chats) and all(chat.over for chat in chats):
            ended = chats[0]  # nothing more can come
        if ended is not None:
            wait.end(ended.chat_id, ended.record.reason)
        elif triggers:
            # More than a page is unread: it is read first, since a page that is full cannot show what is met.
            if not wait.look_back() and reading.page(max_chars, reading.rendering()).more:
                wait.by = WokenBy.EVENT
        elif reading.has_events():
            wait.by = WokenBy.EVENT
        if not wait.woken and reading.new_chats():
            wait.by = WokenBy.NEW_CHAT
        hopeless = [trigger for trigger in triggers if chats and is_hopeless(trigger, chats)]
        reading.hopeless = list(dict.fromkeys(trigger.score for trigger in hopeless))
        if triggers and len(hopeless) == len(triggers) and not wait.woken:
            wait.by = WokenBy.NO_SCORES
        if not wait.woken:
            seconds, gives_up_after = wait.at_most(timeout_s)
            await _sleep(
                ctx, desk.clock, wait, min(seconds, desk.time_left()), f"waiting on {text.counted(len(chats), 'chat')}"
            )
            if seconds < timeout_s and wait.by is WokenBy.TIMEOUT:
                reading.cut_short = _cut_short(timeout_s, seconds, gives_up_after)
            if not chat_ids:
                every = dict.fromkeys([*chats, *desk.chats()])
                reading.chats = [chat for chat in every if not chat.came_to_nothing]
            # What ended after something else had woken it counts too: it is on this page.
            if (ended := _ended(reading.chats, start)) is not None:
                wait.end(ended.chat_id, ended.record.reason)
    answer = reading.result(ctx, wait)
    call.moved = after not in (EARLIEST, LATEST, reading.cursor)
    return answer


def _ended(chats: list[LiveChat], start: Start) -> LiveChat | None:
    """The first of the chats that are over since the reader's place."""
    return next((chat for chat in chats if (chat.record.over_seq or 0) > start.after(chat.record)), None)


def _cut_short(asked: float, seconds: float, gives_up_after: float | None) -> str:
    """Why a wait was shorter than was asked for, and what to do about it."""
    said = f"this wait was to last {asked:g} s and ended after {seconds:.3g} s"
    if gives_up_after is None:
        return f"{said}, the most that this server allows (EVI_MCP_MAX_WAIT); go on with `cursor`"
    return (
        f"{said}: your client seems to give up after {gives_up_after:.3g} s, so what comes later would not reach you;"
        " go on with `cursor`, or have somebody set a longer time-out in your client"
    )


async def _sleep(ctx: ToolContext, clock: Clock, wait: Wait, seconds: float, doing: str) -> None:
    """Sleeps until something wakes it, and shows a sign of life to a client that wants one."""
    heartbeat = HEARTBEAT_S if wants_progress(ctx) else seconds
    slept = 0.0
    while True:
        started = clock.elapsed()
        await wait.sleep(min(seconds - slept, heartbeat))
        slept += clock.elapsed() - started
        if wait.woken or wait.dismissed or slept >= seconds:
            return
        await ctx.report_progress(slept, seconds, doing)


@dataclass
class _Reading:
    """What a call wants to read, and how much of it fits."""

    desk: Desk
    chats: list[LiveChat]
    chat_ids: list[str]
    position: Position
    shown_types: TypesShown
    limit: int
    max_chars: int
    hopeless: list[str] = field(default_factory=list)
    """Scores that it waits for in vain."""
    cut_short: str | None = None
    """Why it has waited for less than was asked for."""
    cursor: str = ""
    """Of the page that was shown."""

    @property
    def wanted(self) -> Filter:
        """The events that belong on the page."""
        return Filter(frozenset(self.shown_types.meant) or None, self.desk.caller.signature)

    def rendering(self) -> Rendering:
        """How its events are shown."""
        records = [chat.record for chat in self.chats]
        return Rendering(with_chat_id=len(records) > 1, in_full=bool(self.shown_types.meant), records=records)

    def new_chats(self) -> list[Arrival]:
        """The chats that have begun since the place, if it is about all chats."""
        return [] if self.chat_ids else self.desk.new_chats(0 if self.position.foreign else self.position.seq)

    def start(self) -> Start:
        """Where it goes on in each of its chats."""
        return self.desk.start(self.position, self.chats)

    def page(self, room: int, rendering: Rendering) -> Page:
        """The next page, with at most `room` characters of events."""
        return read_page(
            [chat.record for chat in self.chats],
            self.start(),
            self.wanted,
            limit=self.limit,
            max_chars=room,
            length=rendering.length,
        )

    def has_events(self) -> bool:
        """Whether there is anything to read already."""
        start, shows = self.start(), self.wanted.shows
        return any(
            shows(event)
            for chat in self.chats
            if chat.record.log.last_seq > (seq := start.after(chat.record))
            for event in chat.record.log.after(seq)
        )

    def result(self, ctx: ToolContext, wait: Wait | None = None) -> CallToolResult:
        """The page as a result. Its own lines count too, so it is read again, shorter, until all of it fits."""
        room, shortest = self.max_chars, math.inf
        records = [chat.record for chat in self.chats]
        rendering = self.rendering()
        waiting, more_waiting = structure.pending(
            records, self.desk.clock.elapsed(), lambda call: len(pending_line(call)) + 1, self.max_chars // 4
        )
        while True:
            page = self.page(room, rendering)
            events = page.events
            if len(events) == 1:  # the one event that may be larger than a page
                rendering.fit(events[0], room)
            structures = rendering.structures(events)
            cursor = self.desk.cursor(page.seq, self.chats, wide=len(self.chat_ids) != 1)
            self.cursor = cursor
            shown: dict[str, Any] = {**structure.page(page, structures, records, cursor)}
            if waiting:
                shown["pending_tool_calls"] = waiting
            if more_waiting:
                shown["more_pending"] = more_waiting
            if wait is not None:
                new = [arrival.chat for arrival in self.new_chats() if not page.more or arrival.seq <= page.seq]
                shown["new_chats"], shown["more_new_chats"] = structure.new_chats(new, self.max_chars // 4)
                shown = {key: value for key, value in shown.items() if value or key not in _NEW}
                shown |= _why(wait, several=len(records) > 1)
            notes = [
                text.hopeless(self.hopeless),
                text.never_came(self.shown_types.never_came),
                self._scope_note(),
                self.cut_short,
            ]
            if told := "; ".join(filter(None, notes)):
                shown["note"] = told
            lines = rendering.lines(events)
            written = text.page(cast(shapes.EventPage, shown), lines, types=self.shown_types.meant)
            over = len(written) - self.max_chars
            if over <= 0 or room <= 1 or (len(events) <= 1 and len(written) >= shortest):
                return result(ctx, written, shown)
            room = max(1, min(room, sum(map(rendering.length, events))) - over)
            shortest = len(written)

    def _scope_note(self) -> str | None:
        """What is to be said of a cursor of one chat that is used for others."""
        start = self.start()
        others = [chat for chat in self.chats if start.after(chat.record) != self.position.seq]
        if not others or self.position.chat is None:
            return None
        return "`after` is a place in one chat; every other chat is read from its attach"


def _why(wait: Wait, *, several: bool) -> dict[str, Any]:
    """Why a wait has returned, as a part of its page, which may be about several chats."""
    shown: dict[str, Any] = {"woken_by": wait.by.value}
    where: dict[str, Any] = {}
    chat_id = wait.met.chat_id if wait.met else wait.ended
    if several and chat_id is not None:
        where["chat_id"] = chat_id
    if wait.met is not None:
        shown["trigger"] = wait.met.trigger.shown()
        facts = {"seq": wait.met.seq, "tool_call_id": wait.met.tool_call_id}
        where |= {name: value for name, value in facts.items() if value is not None}
    if where:
        shown["triggered_by"] = where
    if wait.reason is not None:
        shown["reason"] = wait.reason
    return shown


TOOLS = (
    ToolSpec(read_events, "Read events", Access.MONITOR),
    ToolSpec(wait_for_events, "Wait for events", Access.MONITOR),
)
