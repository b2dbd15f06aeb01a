"""Sleeping until something happens in any of many chats. Nothing is polled: who logs an event wakes the sleeper."""

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import StrEnum
from types import TracebackType
from typing import NamedTuple, Self

import anyio

from evi_mcp.chat.events import CHAT_STATE, Event
from evi_mcp.chat.triggers import CUTS_SHORT, Clock, Trigger, first_met
from evi_mcp.ledger.pages import Filter
from evi_mcp.protocol.lifecycle import OVER, State
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.supervision.registry import ChatRegistry

_MOVES_CLOCKS = CUTS_SHORT | {"tool_call"}
"""Events after which a clock may wake sooner than was foreseen."""


class WokenBy(StrEnum):
    """Why a wait returned."""

    EVENT = "event"
    TRIGGER = "trigger"
    CHAT_ENDED = "chat_ended"
    TIMEOUT = "timeout"


class Met(NamedTuple):
    """A trigger that was met; `seq` is the event that did it, `None` if time did, to the tool call if it waited."""

    trigger: Trigger
    chat_id: str
    seq: int | None = None
    tool_call_id: str | None = None


class _Due(NamedTuple):
    at: float
    clock: Clock
    met: Met
    chat: LiveChat


class Wait:
    """One sleeper over these chats, or over all of a registry, also those attached meanwhile.

    Listens from entering to leaving. Without triggers any wanted event wakes it, with them only what meets one does;
    the end of a chat always does.

    Args:
        registry: Whose chats they are.
        chats: Those it covers; `None` for all.
        wanted: Which events wake it, without triggers.
        until: The triggers.
        agent: Who sleeps, for what is told to each agent once.
    """

    def __init__(
        self,
        registry: ChatRegistry,
        chats: Sequence[LiveChat] | None,
        wanted: Filter,
        until: Sequence[Trigger] = (),
        agent: str = "",
    ) -> None:
        self._registry = registry
        self._chats = chats
        self._places: Sequence[ChatRegistry | LiveChat] = [registry] if chats is None else chats
        self._wanted = wanted
        self._until = until
        self._agent = agent
        # As each was when seen first: what wakes another agent changes nothing for this one.
        self._wakes_at: dict[tuple[str, Clock], float] = {}
        self._news = anyio.Event()
        self.by = WokenBy.TIMEOUT
        self.reason: str | None = None
        self.met: Met | None = None
        self.ended: str | None = None
        """The chat whose end has woken it."""

    def __enter__(self) -> Self:
        looks_at = self._looks_at()
        for place in self._places:
            place.listeners.add(self._see, looks_at)
        return self

    def _looks_at(self) -> Collection[str] | None:
        """The types of the events that it has to see; `None` for all."""
        if self._until:
            return {CHAT_STATE}.union(*(trigger.looks_at for trigger in self._until))
        return None if self._wanted.types is None else {CHAT_STATE, *self._wanted.types}

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._listen_no_more()

    def _listen_no_more(self) -> None:
        for place in self._places:
            place.listeners.remove(self._see)

    @property
    def woken(self) -> bool:
        """Whether there is a reason to return."""
        return self.by is not WokenBy.TIMEOUT

    def end(self, chat_id: str, reason: str | None) -> None:
        """A chat is over, which counts more than anything else."""
        self.by, self.met, self.ended, self.reason = WokenBy.CHAT_ENDED, None, chat_id, reason
        self._wake()

    def look_back(self, seq: int) -> bool:
        """Whether an event after `seq` meets a trigger already; the first one counts."""
        firsts = ((chat, first_met(self._until, chat.record, seq)) for chat in self._covered())
        found = [Met(first[0], chat.chat_id, first[1]) for chat, first in firsts if first is not None]
        if found:
            self._meet(min(found, key=lambda met: met.seq or 0))
        return self.woken

    async def sleep(self, seconds: float) -> None:
        """Returns when woken, or after this many seconds."""
        ends = time.monotonic() + seconds
        while not self.woken:
            due, now = min(self._due(), default=None, key=lambda due: due.at), time.time()
            if due is not None and due.at <= now:
                due.chat.reminders.tell(due.clock, self._agent, now)
                self._meet(due.met)
                return
            left = ends - time.monotonic()
            if left <= 0:
                return
            with anyio.move_on_after(left if due is None else min(left, due.at - now)):
                await self._news.wait()
            self._news = anyio.Event()

    def _see(self, event: Event) -> None:
        if event.type == CHAT_STATE:
            if event.state in OVER:
                self.end(event.chat_id, event.reason)
            self._news.set()  # a chat that has come, or come back, brings clocks of its own
        if self.woken:
            return
        if not self._until:
            if self._wanted.shows(event):
                self.by = WokenBy.EVENT
                self._wake()
            return
        if event.type in _MOVES_CLOCKS:
            self._news.set()
        chat = self._registry.find(event.chat_id)
        if chat is not None:
            for trigger in self._until:
                if trigger.met_by(event, chat.record):
                    self._meet(Met(trigger, event.chat_id, event.seq))
                    return

    def _meet(self, met: Met) -> None:
        self.by, self.met = WokenBy.TRIGGER, met
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        # Many may sleep on a chat that goes on talking: who is awake costs it nothing.
        self._listen_no_more()

    def _covered(self) -> Iterable[LiveChat]:
        return self._registry.chats() if self._chats is None else self._chats

    def _due(self) -> Iterator[_Due]:
        """When each clock of a live chat wakes; of a chat that is not, nobody knows what goes on in it."""
        for trigger in self._until:
            for chat in self._covered():
                if chat.state is State.LIVE:
                    for clock in trigger.clocks(chat.record):
                        met = Met(trigger, chat.chat_id, None, clock.tool_call_id)
                        at = self._wakes_at.get((chat.chat_id, clock))
                        if at is None:
                            at = self._wakes_at[chat.chat_id, clock] = chat.reminders.next_at(clock, self._agent)
                        yield _Due(at, clock, met, chat)
