"""The tool calls of a chat: what was asked, and who answered.

EVI's documentation does not say who may answer, or who is shown an answer. So this records how it knows of an answer:
it was our own, it was seen from somebody else, or the assistant went on. The number of its event identifies a call: ids
come from the LLM provider, and some providers reuse them. An id of several calls means the newest open one.

Times are seconds of `Clock.elapsed`, except `closed_at`, which is for showing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from evi_mcp.chat.events import EVENT_BYTES, Event
from evi_mcp.chat.memory import size_of
from evi_mcp.protocol.lifecycle import DETACHED, State

MAX_ANSWER = 1000
"""Characters of an answer that are kept with its call; the log has all of it."""
MAX_TOOL_CALLS = 1000
"""The most calls kept for each chat. Beyond, the oldest closed call is dropped, or else the oldest."""


class Answerer(NamedTuple):
    """Who answered a call. For a caller of this server, `kind` is its kind (`agent`, `person`, `server`) and `name` the
    name that it claims. For anybody else `kind` is `other`, and `name` is in our words. `perhaps`: nobody knows whether
    the answer arrived."""

    name: str
    kind: str = "other"
    perhaps: bool = False


EVI = Answerer("EVI")
SOMEONE_ELSE = Answerer("someone else")
EVI_OR_OTHER = Answerer("EVI, or another client")
BEFORE_ATTACHING = Answerer("someone else, before this server attached")


class Status(StrEnum):
    """The state of a call. `RUNNING`: a built-in tool is at work, and nobody has to answer. `SUPERSEDED`: EVI has gone
    on, so no answer is needed any more. `UNANSWERED`: the call was open when the chat ended."""

    PENDING = "pending"
    RUNNING = "running"
    ANSWERED = "answered"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    UNANSWERED = "unanswered"


OPEN = frozenset({Status.PENDING, Status.RUNNING, Status.SUPERSEDED, Status.UNANSWERED})


@dataclass(slots=True, kw_only=True)
class TrackedCall:
    """One tool call; `number` is the `seq` of its event, `at` when that reached us (Unix seconds). `closed_at` (Unix
    seconds) is `None` while it is open; `answered_by` is, unless an answer may have been lost. `asked_at` and
    `ended_at` are when its beginning and its end reached us; `unseen_end`: that came with a history, so that nobody
    knows when it was.

    `evi_spoke_since`: EVI has said something since the call, other than a quick reply, so it may have its answer.
    `sent`: type and text of our own answer, which the service may still show to us.
    """

    number: int
    tool_call_id: str
    chat_id: str
    name: str | None
    parameters: str | None
    status: Status
    at: float
    asked_at: float
    replayed: bool
    deadline: float | None = None
    """When this server answers it if nobody has; `None` if it does not."""
    answer: str | None = None
    """What it was answered with, the beginning of it."""
    answered_by: Answerer | None = None
    closed_at: float | None = None
    ended_at: float | None = None
    unseen_end: bool = False
    before_the_end: Status | None = None
    """The status when the chat ended; `None` while the chat goes on."""
    user_spoke_since: bool = False
    evi_spoke_since: bool = False
    sent: tuple[str, str] | None = None

    @property
    def is_unanswered(self) -> bool:
        """Whether nothing suggests that it was answered."""
        return self.status is Status.PENDING and self.answered_by is None and not self.evi_spoke_since

    @property
    def size(self) -> int:
        """The bytes that the call counts."""
        return EVENT_BYTES + MAX_ANSWER + size_of(self.parameters or "")

    def waiting_s(self, elapsed: float) -> float | None:
        """Seconds from the call to its answer; while it is open, until now. `None` if an answered call or its answer
        came with a history, so that nobody knows. An open call from a history counts from its arrival: it has waited
        longer."""
        if self.ended_at is None:
            return max(0.0, elapsed - self.asked_at)
        return None if self.replayed or self.unseen_end else max(0.0, self.ended_at - self.asked_at)

    def close(self, status: Status, by: Answerer, *, at: float, elapsed: float, unseen: bool = False) -> None:
        """Records the first answer; later ones change nothing. `unseen`: the answer came with a history."""
        if self.status in OPEN:
            self.ended_at, self.unseen_end, self.before_the_end = elapsed, unseen, None
            self.status, self.answered_by, self.closed_at = status, by, at

    def give_up(self, elapsed: float, *, unseen: bool) -> None:
        """The chat has ended: nobody waits for an answer any more."""
        if self.status in (Status.PENDING, Status.RUNNING):
            self.status, self.before_the_end = Status.UNANSWERED, self.status
            self.ended_at, self.unseen_end = elapsed, unseen

    def go_on(self) -> None:
        """The chat has not ended after all."""
        if self.status is Status.UNANSWERED and self.before_the_end is not None:
            self.status, self.before_the_end = self.before_the_end, None
            self.ended_at, self.unseen_end = None, False

    def reopen(self) -> None:
        """Opens the call again, because nobody knows whether its answer arrived."""
        if self.answered_by is not None:
            self.answered_by = self.answered_by._replace(perhaps=True)
        self.status, self.closed_at = Status.PENDING, None
        self.ended_at, self.unseen_end = None, False


class ToolCalls:
    """All tool calls of one chat, in the order in which they were asked.

    Args:
        on_size: Called with each change of the kept size, in bytes.
        fallback_s: After how many seconds this server answers a call that nobody has answered; `None` if it does not.
    """

    def __init__(self, on_size: Callable[[int], None] = lambda _: None, fallback_s: float | None = None) -> None:
        self._on_size = on_size
        self._fallback_s = fallback_s
        self.size = 0
        """The size of the kept calls, in bytes."""
        self._calls: dict[int, TrackedCall] = {}
        self._by_id: dict[str, list[int]] = {}
        self._seen = True  # whether the chat is live, so that events are seen when they happen
        self._pending: dict[int, TrackedCall] = {}  # all pending calls, and perhaps some that no longer are

    def __iter__(self) -> Iterator[TrackedCall]:
        return iter(self._calls.values())

    def numbered(self, number: int) -> TrackedCall | None:
        """The call whose event has this number, or `None`."""
        return self._calls.get(number)

    def named(self, tool_call_id: str) -> list[TrackedCall]:
        """The calls with this id, oldest first."""
        return [self._calls[number] for number in self._by_id.get(tool_call_id, ())]

    def get(self, tool_call_id: str) -> TrackedCall | None:
        """The call that this id means: the newest open one, else the newest; `None` if there is none."""
        calls = self.named(tool_call_id)
        open_ones = [call for call in calls if call.status in OPEN]
        return next(reversed(open_ones or calls), None)

    def pending(self) -> list[TrackedCall]:
        """The calls that wait for an answer, oldest first."""
        if not self._pending:
            return []
        self._pending = {call.number: call for call in self._pending.values() if call.status is Status.PENDING}
        return sorted(self._pending.values(), key=lambda call: call.number)

    def reopen(self, call: TrackedCall) -> None:
        """As `TrackedCall.reopen`; a call that is still kept becomes pending again."""
        call.reopen()
        if call.number in self._calls:
            self._pending[call.number] = call

    def drop(self) -> bool:
        """Drops the oldest closed call, or else the oldest, but never the newest. Returns whether it dropped one."""
        if len(self._calls) < 2:
            return False
        newest = next(reversed(self._calls))
        closed = (call for call in self._calls.values() if call.status not in OPEN and call.number != newest)
        call = next(closed, None) or next(iter(self._calls.values()))
        del self._calls[call.number]
        self._pending.pop(call.number, None)
        self._by_id[call.tool_call_id].remove(call.number)
        if not self._by_id[call.tool_call_id]:
            del self._by_id[call.tool_call_id]
        self.size -= call.size
        self._on_size(-call.size)
        return True

    def see(self, event: Event, elapsed: float) -> None:
        """Takes in an event of the chat."""
        match event.type:
            case "tool_call":
                self._asked(event, elapsed)
            case "tool_response":
                self._closed(event, Status.ANSWERED, elapsed)
            case "tool_error":
                self._closed(event, Status.FAILED, elapsed)
            case "chat_state":
                self._chat_changed(event, elapsed)
            case "user_message" if not event.interim:
                for call in self.pending():
                    call.user_spoke_since = True
            case "assistant_message" if not event.from_text and not event.quick:
                self._evi_spoke(event, elapsed)
            case "assistant_end":
                # A message after the call may belong to the time before it. But a whole turn shows that EVI has gone
                # on, with somebody's answer or without one. No answer is needed any more, but one is still accepted.
                for call in self.pending():
                    if call.evi_spoke_since:
                        call.status = Status.SUPERSEDED

    def _evi_spoke(self, event: Event, elapsed: float) -> None:
        """EVI may hide the answers of others, but it goes on only after an answer."""
        for call in self.pending():
            call.evi_spoke_since = True
            if event.replayed and call.replayed and call.user_spoke_since:
                call.status = Status.SUPERSEDED  # perhaps answered, perhaps dropped: an answer is still accepted
            elif event.replayed and call.replayed:
                call.close(Status.ANSWERED, BEFORE_ATTACHING, at=event.at, elapsed=elapsed, unseen=True)

    def _chat_changed(self, event: Event, elapsed: float) -> None:
        if event.state == State.ENDED and event.reason != DETACHED:
            for call in self._calls.values():
                call.give_up(elapsed, unseen=not self._seen)
        elif event.state == State.LIVE:
            for call in self._calls.values():
                call.go_on()
                if call.status is Status.PENDING:
                    self._pending[call.number] = call
        self._seen = event.state == State.LIVE

    def _asked(self, event: Event, elapsed: float) -> None:
        if event.tool_call_id is None:
            return
        # When the user moves on, EVI drops a call silently, and asks again under another id.
        for call in self.pending():
            if call.user_spoke_since:
                call.status = Status.SUPERSEDED
        call = TrackedCall(
            number=event.seq,
            tool_call_id=event.tool_call_id,
            chat_id=event.chat_id,
            name=event.name,
            parameters=event.parameters,
            status=Status.PENDING if event.response_required else Status.RUNNING,
            at=event.at,
            asked_at=elapsed,
            deadline=elapsed + self._fallback_s if self._fallback_s is not None and event.response_required else None,
            replayed=bool(event.replayed),
        )
        self._calls[call.number] = call
        self._by_id.setdefault(call.tool_call_id, []).append(call.number)
        self.size += call.size
        self._on_size(call.size)
        if event.response_required:
            self._pending[call.number] = call
        if len(self._calls) > MAX_TOOL_CALLS:
            self.drop()

    def _closed(self, event: Event, status: Status, elapsed: float) -> None:
        if event.tool_call_id is None or self._is_shown_back(event):
            return
        call = self.get(event.tool_call_id)
        if call is None:
            return
        if call.status is Status.RUNNING:
            by = EVI
        else:
            by = EVI_OR_OTHER if status is Status.FAILED else SOMEONE_ELSE
        if call.status in OPEN:
            call.answer = (event.content or event.error or "")[:MAX_ANSWER]
        call.close(status, by, at=event.at, elapsed=elapsed, unseen=bool(event.replayed))

    def _is_shown_back(self, event: Event) -> bool:
        """Whether this is our own answer coming back, which must not close a later call with the same id."""
        for call in self.named(event.tool_call_id or ""):
            if call.sent == answer_key(event.type, event.content):
                call.sent = None
                return True
        return False


def answer_key(kind: str, content: str | None) -> tuple[str, str]:
    """A key that tells answers apart. It uses the beginning of the text: the log keeps only part of a very long one."""
    return kind, (content or "")[:1000]
