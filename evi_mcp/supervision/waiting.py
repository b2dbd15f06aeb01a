"""Sleeping until something happens in any of many chats. Nothing is polled: an event that is logged wakes the
sleeper."""

import math
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self

from evi_mcp.chat.events import CHAT_STATE, Event
from evi_mcp.chat.pages import Filter
from evi_mcp.chat.triggers import CUTS_SHORT, Timer, Trigger, first_met
from evi_mcp.clock import Clock
from evi_mcp.errors import CallerLimit, EviMcpError, TokenEnded, TooManyWaits
from evi_mcp.protocol.lifecycle import OVER, State
from evi_mcp.supervision.arrivals import Arrivals
from evi_mcp.supervision.feed import Scope, Subscription
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.supervision.patience import SHARE, Call, Patience, nothing
from evi_mcp.wakeups import Bell, Signal

_MOVES_TIMERS = CUTS_SHORT | {"tool_call"}
"""Events after which a timer may wake sooner than was foreseen."""


class Waits:
    """The calls that wait, and how many may at once: each one that is parked takes some 30 KiB.

    Args:
        most: Of all callers together.
        most_each: Of each caller that shows a token.
        longest: Seconds that any of them may take.
    """

    def __init__(self, most: int = 2000, most_each: int = 100, longest: float = math.inf) -> None:
        self.longest = longest
        self.patience = Patience()
        self.most = most
        self.most_each = most_each
        self._waiting: dict[Wait, None] = {}
        self._by_account = Counter[str]()
        self._closed = False
        self._left = Signal()

    @property
    def count(self) -> int:
        """How many wait now."""
        return len(self._waiting)

    def begin(self, wait: "Wait") -> None:
        """One more waits.

        Raises:
            TooManyWaits, CallerLimit: There is no room for it.
        """
        if self.count >= self.most:
            raise TooManyWaits(self.most)
        if wait.account is not None and self._by_account[wait.account] >= self.most_each:
            raise CallerLimit(
                f"{self.most_each} calls waiting",
                "EVI_MCP_CALLER_WAITS",
                "use one wait_for_events for several chats, or read with read_events",
            )
        self._waiting[wait] = None
        if wait.account is not None:
            self._by_account[wait.account] += 1
        if self._closed:
            wait.dismiss()

    def end(self, wait: "Wait") -> None:
        """One of them waits no more."""
        del self._waiting[wait]
        if wait.account is not None:
            self._by_account[wait.account] -= 1
            self._by_account += Counter()  # keeps those that have some
        self._left.tell()

    def close(self) -> None:
        """From now on nobody waits: those that do return with what there is, as if their time were up."""
        self._closed = True
        for wait in list(self._waiting):
            wait.dismiss()

    def refuse(self, account: str) -> None:
        """The waits of this caller end with `TokenEnded`."""
        for wait in list(self._waiting):
            if wait.account == account:
                wait.dismiss(TokenEnded())

    async def empty(self) -> None:
        """Returns once nobody waits."""
        while self._waiting:
            await self._left.wait()


class WokenBy(StrEnum):
    """Why a wait returned."""

    EVENT = "event"
    TRIGGER = "trigger"
    CHAT_ENDED = "chat_ended"
    TIMEOUT = "timeout"
    NO_SCORES = "no_scores"
    NEW_CHAT = "new_chat"


class Met(NamedTuple):
    """A trigger that was met; `seq` is the event that did it, `None` if time did, to the tool call if it waited."""

    trigger: Trigger
    chat_id: str
    seq: int | None = None
    tool_call_id: str | None = None


class _Due(NamedTuple):
    at: float
    timer: Timer
    met: Met
    chat: LiveChat


class Wait:
    """One sleeper. Listens from entering to leaving. Without triggers any wanted event wakes it, with them only what
    meets one does; the end of a chat always does, and over all chats also one that begins.

    Args:
        scope: Which chats it covers.
        wanted: Which events wake it, without triggers.
        until: The triggers.
        caller: Who sleeps, by id: what is told to each caller once is told by it.
        arrivals: Tells of chats that begin; `None` for a sleeper over some chats only.
        client: What it sleeps for, as `Patience` knows it; `None` if the caller has one client.
        account: The holder of the token that it has shown, for whose waits there is a limit; `None` for none.
        read_to: The number up to which the caller has read in a chat.
        reserve: Uses up a number, for a page that shows nothing new and yet tells something.
        clock: What timers are reckoned by.
        waits: Where it counts while it listens; entering raises `TooManyWaits` if there are too many.
    """

    def __init__(
        self,
        scope: Scope,
        wanted: Filter,
        until: Sequence[Trigger],
        *,
        caller: str,
        read_to: Callable[[LiveChat], int],
        reserve: Callable[[], int],
        clock: Clock,
        waits: Waits,
        arrivals: Arrivals | None = None,
        account: str | None = None,
        client: str | None = None,
    ) -> None:
        self._client = client or caller
        self.account = account
        self.dismissed = False
        """Whether it was told to return before anything has woken it."""
        self._refusal: EviMcpError | None = None
        self._waits = waits
        self._arrivals = arrivals
        self._scope = scope
        self._wanted = wanted
        self._until = until
        self._caller = caller
        self._read_to = read_to
        self._reserve = reserve
        self._clock = clock
        # As each was when seen first: what wakes another wait changes nothing for this one.
        self._wakes_at: dict[tuple[str, Timer], float] = {}
        self._bell = Bell()
        self._subscription = Subscription(scope, self._see, self._looks_at())
        self.by = WokenBy.TIMEOUT
        self.reason: str | None = None
        self.met: Met | None = None
        self._take_back: Callable[[], None] = nothing
        self.ended: str | None = None
        """The chat whose end has woken it."""

    def __enter__(self) -> Self:
        self._waits.begin(self)
        self._subscription.__enter__()
        if self._arrivals is not None:
            self._arrivals.listen(self._begun)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._waits.end(self)
        self._subscription.stop()
        if self._arrivals is not None:
            self._arrivals.unlisten(self._begun)

    def _looks_at(self) -> Collection[str] | None:
        """The types of the events that it has to see; `None` for all."""
        if self._until:
            return {CHAT_STATE}.union(*(trigger.looks_at for trigger in self._until))
        return None if self._wanted.types is None else {CHAT_STATE, *self._wanted.types}

    @property
    def woken(self) -> bool:
        """Whether there is a reason to return."""
        return self.by is not WokenBy.TIMEOUT

    def end(self, chat_id: str, reason: str | None) -> None:
        """A chat is over, which counts more than anything else."""
        self.by, self.met, self.ended, self.reason = WokenBy.CHAT_ENDED, None, chat_id, reason
        self._wake()

    def look_back(self, only: LiveChat | None = None) -> bool:
        """Whether an event that the caller has not read meets a trigger already; the first one counts."""
        chats = self._scope.covered() if only is None else [only]
        firsts = ((chat, first_met(self._until, chat.record, self._read_to(chat))) for chat in chats)
        found = [Met(first[0], chat.chat_id, first[1]) for chat, first in firsts if first is not None]
        if found:
            self._meet(min(found, key=lambda met: met.seq or 0))
        return self.woken

    def at_most(self, seconds: float) -> tuple[float, float | None]:
        """How long it may last if so many are asked for, and after how many its client gives up if that is why it is
        less; `None` if the reason is `Waits.longest`, or there is none."""
        gives_up_after = self._waits.patience.of(self._client, self._clock.elapsed())
        allowed = min(seconds, self._waits.longest)
        patient = SHARE * gives_up_after
        return (patient, gives_up_after) if patient < allowed else (allowed, None)

    @contextmanager
    def asked(self, question: Hashable | None, request: str) -> Iterator[Call]:
        """While the answer is waited for: what the client shows of its patience is noted.

        Args:
            question: As for `Call`.
            request: Likewise.
        """
        patience = self._waits.patience
        call = Call(question, request, self._clock.elapsed(), self.dismiss)
        patience.begin(self._client, call)
        try:
            yield call
        except BaseException:
            patience.abandoned(self._client, call, self._clock.elapsed())
            raise
        finally:
            call.end(self._clock.elapsed(), self._take_back)

    def dismiss(self, refusal: EviMcpError | None = None) -> None:
        """It returns now; with `refusal`, it raises that."""
        self.dismissed, self._refusal = True, refusal or self._refusal
        self._bell.ring()

    async def sleep(self, seconds: float) -> None:
        """Returns when woken or dismissed, or after this many seconds.

        Raises:
            EviMcpError: That with which it was dismissed.
        """
        ends = self._clock.elapsed() + seconds
        while not self.woken:
            if self._refusal is not None:
                raise self._refusal
            if self.dismissed:
                return
            due, elapsed = min(self._due(), default=None, key=lambda due: due.at), self._clock.elapsed()
            if due is not None and due.at <= elapsed:
                read_to = self._read_to(due.chat)
                page, reminders = self._reserve(), due.chat.reminders
                reminders.tell(due.timer, self._caller, elapsed, read_to=read_to, page=page)
                self._take_back = partial(reminders.take_back, due.timer, self._caller, page)
                self._meet(due.met)
                return
            if ends <= elapsed:
                return
            with self._clock.timeout_at(min(ends, due.at if due is not None else math.inf)):
                await self._bell.wait()

    def _see(self, event: Event) -> None:
        if event.type == CHAT_STATE:
            if event.state in OVER:
                self.end(event.chat_id, event.reason)
            self._bell.ring()  # a chat that has come, or come back, brings timers of its own
        if self.woken:
            return
        if not self._until:
            if self._wanted.shows(event):
                self.by = WokenBy.EVENT
                self._wake()
            return
        if event.type in _MOVES_TIMERS:
            self._bell.ring()
        chat = self._scope.chats.find(event.chat_id)
        if chat is None:
            return
        if event.type == CHAT_STATE:
            self.look_back(chat)  # a chat that has caught up may have met a trigger on the way
        elif chat.record.is_news(event):
            for trigger in self._until:
                if trigger.met_by(event, chat.record):
                    self._meet(Met(trigger, event.chat_id, event.seq))
                    return

    def _begun(self, chat_id: str) -> None:
        if not self.woken and self._scope.sees(chat_id):
            self.by = WokenBy.NEW_CHAT
            self._wake()

    def _meet(self, met: Met) -> None:
        self.by, self.met = WokenBy.TRIGGER, met
        self._wake()

    def _wake(self) -> None:
        self._bell.ring()
        # Many may sleep on a chat that goes on talking: who is awake costs it nothing.
        self._subscription.stop()

    def _due(self) -> Iterator[_Due]:
        """When each timer of a live chat wakes; of a chat that is not, or is catching up, nobody knows what goes on."""
        for chat in self._scope.covered():
            if chat.state is not State.LIVE or chat.record.catching_up:
                continue
            for trigger in self._until:
                for timer in trigger.timers(chat.record):
                    at = self._wakes_at.get((chat.chat_id, timer))
                    if at is None:
                        at = chat.reminders.next_at(timer, self._caller, self._read_to(chat))
                        self._wakes_at[chat.chat_id, timer] = at
                    call = chat.record.tool_calls.numbered(timer.call) if timer.call is not None else None
                    met = Met(trigger, chat.chat_id, None, call.tool_call_id if call else None)
                    yield _Due(at, timer, met, chat)
