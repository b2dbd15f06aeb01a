"""Reading what happens: by cursor, at once or by waiting."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

import anyio
from mcp_types import CallToolResult
from pydantic import BeforeValidator, Field

from evi_mcp.access.callers import Access
from evi_mcp.chat.triggers import AnyTrigger, OnEvent
from evi_mcp.errors import InvalidArgument
from evi_mcp.ledger.log import EARLIEST, LATEST, Position
from evi_mcp.ledger.pages import Filter, Page, read_page
from evi_mcp.server.tools.spec import (
    AppContext,
    ChatId,
    Limit,
    MaxChars,
    ToolSpec,
    Types,
    agent_of,
    app_of,
    result,
    wants_progress,
)
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.supervision.service import App
from evi_mcp.supervision.waiting import Wait, WokenBy
from evi_mcp.views import shapes, structure, text
from evi_mcp.views.rendering import Rendering

HEARTBEAT_S = 5.0

After = Annotated[
    str,
    Field(description="`cursor` of an earlier result, `earliest` or `latest`; events after it are returned."),
]

Until = Annotated[
    Annotated[list[AnyTrigger], Field(max_length=10)] | None,
    BeforeValidator(lambda value: [value] if isinstance(value, dict) else value),
    Field(
        description="Triggers: sleep until any of them is met instead of waking for every event. They look at all"
        " events after the cursor, whatever `types` shows.",
    ),
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
    until: Until = None,
    timeout_s: Annotated[float, Field(ge=0, le=50, description="Seconds to wait at most.")] = 25,
    limit: Limit = 50,
    max_chars: MaxChars = 8000,
) -> Annotated[CallToolResult, shapes.WaitPage]:
    """Wait until any of the chats has an event after the cursor, or meets a trigger of `until`, or ends; then show all
    events after the cursor."""
    app = app_of(ctx)
    position = app.registry.cursors.read(after)
    chats = app.chats(chat_ids or None)
    if not chats:
        raise InvalidArgument(
            "no chat is attached, so there is nothing to wait for; call list_chats(scope='active') and attach_chat."
        )
    reading = _Reading(app, chats, chat_ids or [], position, types or [], limit, max_chars, _types_of(until or []))
    who = agent_of(ctx)
    with Wait(app.registry, chats if chat_ids else None, reading.wanted, until or (), who) as wait:
        # A chat that ended since the cursor ends the wait, whatever it waits for.
        ended = _ended(chats, position.seq) or (chats[0] if all(chat.over for chat in chats) else None)
        if ended is not None:
            wait.end(ended.chat_id, ended.record.lifecycle.reason)
        elif until:
            # More than a page is unread: it is read first, since a page that is full cannot show what is met.
            if not wait.look_back(position.seq) and reading.page(max_chars, reading.rendering()).more:
                wait.by = WokenBy.EVENT
        elif reading.has_events():
            wait.by = WokenBy.EVENT
        if not wait.woken:
            await _sleep(ctx, wait, timeout_s, f"waiting on {text.counted(len(chats), 'chat')}")
            if not chat_ids:
                every = dict.fromkeys([*chats, *app.chats()])
                reading.chats = [chat for chat in every if not chat.came_to_nothing]
            # What ended after something else had woken it counts too: it is on this page.
            if (ended := _ended(reading.chats, position.seq)) is not None:
                wait.end(ended.chat_id, ended.record.lifecycle.reason)
    return reading.result(ctx, wait)


def _ended(chats: list[LiveChat], seq: int) -> LiveChat | None:
    """The first of the chats that are over since the event `seq`."""
    return next((chat for chat in chats if (chat.record.over_seq or 0) > seq), None)


async def _sleep(ctx: AppContext, wait: Wait, seconds: float, doing: str) -> None:
    """Sleeps until something wakes it, and shows a sign of life to a client that wants one."""
    heartbeat = HEARTBEAT_S if wants_progress(ctx) else seconds
    slept = 0.0
    while True:
        started = anyio.current_time()
        await wait.sleep(min(seconds - slept, heartbeat))
        slept += anyio.current_time() - started
        if wait.woken or slept >= seconds:
            return
        await ctx.report_progress(slept, seconds, doing)


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
    trigger_types: list[str] = field(default_factory=list)

    @property
    def wanted(self) -> Filter:
        """The events that belong on the page."""
        return Filter(frozenset(self.types) or None)

    def rendering(self) -> Rendering:
        """How its events are shown."""
        return Rendering(with_chat_id=len(self.chats) > 1, in_full=bool(self.types))

    def page(self, room: int, rendering: Rendering) -> Page:
        """The next page, with at most `room` characters of events."""
        return read_page(
            [chat.record.log for chat in self.chats],
            self.position,
            self.wanted,
            limit=self.limit,
            max_chars=room,
            length=rendering.length,
            upto=self.app.registry.cursors.last_seq,
        )

    def has_events(self) -> bool:
        """Whether there is anything to read already."""
        seq, shows = self.position.seq, self.wanted.shows
        logs = [chat.record.log for chat in self.chats]
        return any(shows(event) for log in logs if log.last_seq > seq for event in log.after(seq))

    def result(self, ctx: AppContext, wait: Wait | None = None) -> CallToolResult:
        """The page as a result. Its own lines count too, so it is read again, shorter, until all of it fits."""
        room, shortest = self.max_chars, math.inf
        records = [chat.record for chat in self.chats]
        rendering = self.rendering()
        while True:
            page = self.page(room, rendering)
            events = page.events
            if len(events) == 1:  # the one event that may be larger than a page
                rendering.fit(events[0], room)
            structures = rendering.structures(events)
            shown: dict[str, Any] = {**structure.page(page, structures, records, self.app.registry.cursors)}
            if wait is not None:
                shown |= _why(wait, several=len(records) > 1)
            if unknown := text.unknown_types([*self.types, *self.trigger_types]):
                shown["note"] = unknown
            lines = rendering.lines(events)
            written = text.page(cast(shapes.EventPage, shown), lines, chat_ids=self.chat_ids, types=self.types)
            over = len(written) - self.max_chars
            if over <= 0 or room <= 1 or (len(events) <= 1 and len(written) >= shortest):
                return result(ctx, written, shown)
            room, shortest = max(1, room - over), len(written)


def _types_of(until: list[AnyTrigger]) -> list[str]:
    """The event types that triggers name."""
    return [kind for trigger in until if isinstance(trigger, OnEvent) for kind in trigger.types]


def _why(wait: Wait, *, several: bool) -> dict[str, Any]:
    """Why a wait has returned, as a part of its page, which may be about several chats."""
    shown: dict[str, Any] = {"woken_by": wait.by.value}
    where: dict[str, Any] = {}
    chat_id = wait.met.chat_id if wait.met else wait.ended
    if several and chat_id is not None:
        where["chat_id"] = chat_id
    if wait.met is not None:
        shown["trigger"] = wait.met.trigger.model_dump(exclude_unset=True)
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
