"""The ledger of a chat's tool calls: who was asked what, and who answered.

What EVI documents leaves room for doubt (who may answer, what is mirrored to whom), so the ledger notes how
it knows: an answer of our own, an answer seen from somebody else, or an assistant that went on.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from evi_mcp.chat.events import Event

MAX_TOOL_CALLS = 1000
"""Calls kept for each chat; the oldest closed one goes first, then the oldest."""

SOMEONE_ELSE = "someone else"
EVI_OR_OTHER = "EVI, or another client"
BEFORE_ATTACHING = "someone else, before this server attached"


class Status(StrEnum):
    """Where a call stands. `RUNNING` is a built-in tool at work, which nobody has to answer."""

    PENDING = "pending"
    RUNNING = "running"
    ANSWERED = "answered"
    FAILED = "failed"
    SUPERSEDED = "superseded"


OPEN = frozenset({Status.PENDING, Status.RUNNING, Status.SUPERSEDED})


@dataclass(slots=True, kw_only=True)
class TrackedCall:
    """One tool call. Times are Unix seconds; `answered_by` and `closed_at` are `None` while it is open.

    `number` is the `seq` of its event.
    """

    tool_call_id: str
    chat_id: str
    name: str | None
    parameters: str | None
    status: Status
    asked_at: float
    replayed: bool
    number: int
    answered_by: str | None = None
    closed_at: float | None = None
    user_spoke_since: bool = False
    evi_spoke_since: bool = False

    def waiting_s(self, now: float) -> float:
        """Seconds from the call to its answer, or until now."""
        return max(0.0, (self.closed_at if self.closed_at is not None else now) - self.asked_at)

    def close(self, status: Status, by: str, at: float) -> None:
        """Notes the first answer; later ones change nothing."""
        if self.status in OPEN:
            self.status, self.answered_by, self.closed_at = status, by, at


class ToolCalls:
    """All tool calls of one chat, in the order in which they were asked."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, TrackedCall] = OrderedDict()
        self._pending: dict[str, TrackedCall] = {}  # all that are pending, and perhaps some that no longer are

    def __iter__(self) -> Iterator[TrackedCall]:
        return iter(self._calls.values())

    def get(self, tool_call_id: str) -> TrackedCall | None:
        """The call of this id, or `None`."""
        return self._calls.get(tool_call_id)

    def pending(self) -> list[TrackedCall]:
        """The calls that wait for an answer, oldest first."""
        if not self._pending:
            return []
        self._pending = {name: call for name, call in self._pending.items() if call.status is Status.PENDING}
        return sorted(self._pending.values(), key=lambda call: call.number)

    def reopen(self, call: TrackedCall, perhaps_by: str) -> None:
        """Takes back an answer of which nobody knows whether it arrived."""
        call.status, call.answered_by, call.closed_at = Status.PENDING, f"perhaps {perhaps_by}", None
        if self._calls.get(call.tool_call_id) is call:
            self._pending[call.tool_call_id] = call

    def see(self, event: Event) -> None:
        """Takes in an event of the chat."""
        match event.type:
            case "tool_call":
                self._asked(event)
            case "tool_response":
                self._closed(event, Status.ANSWERED)
            case "tool_error":
                self._closed(event, Status.FAILED)
            case "user_message" if not event.interim:
                for call in self.pending():
                    call.user_spoke_since = True
            case "assistant_message" if not event.from_text and not event.quick:
                # The answers of others may be shown to nobody, but EVI goes on only after one.
                for call in self.pending():
                    call.evi_spoke_since = True
                    if event.replayed and call.replayed and call.user_spoke_since:
                        call.status = Status.SUPERSEDED  # perhaps answered, perhaps dropped: who asks may answer
                    elif event.replayed and call.replayed:
                        call.close(Status.ANSWERED, BEFORE_ATTACHING, event.at)
            case "assistant_end":
                # One message after the call may be a late one of before it. With a whole turn EVI has gone on: answered
                # by somebody, or without an answer. Nobody waits for one any more, but who knows better may give it.
                for call in self.pending():
                    if call.evi_spoke_since:
                        call.status = Status.SUPERSEDED

    def _asked(self, event: Event) -> None:
        if event.tool_call_id is None or event.tool_call_id in self._calls:
            return
        # EVI drops a call without a word when the user moves on, and asks anew under another id.
        for call in self.pending():
            if call.user_spoke_since:
                call.status = Status.SUPERSEDED
        self._calls[event.tool_call_id] = TrackedCall(
            tool_call_id=event.tool_call_id,
            chat_id=event.chat_id,
            name=event.name,
            parameters=event.parameters,
            status=Status.PENDING if event.response_required else Status.RUNNING,
            asked_at=event.at,
            replayed=bool(event.replayed),
            number=event.seq,
        )
        if event.response_required:
            self._pending[event.tool_call_id] = self._calls[event.tool_call_id]
        if len(self._calls) > MAX_TOOL_CALLS:
            oldest = next((c for c in self._calls.values() if c.status not in OPEN), next(iter(self._calls.values())))
            del self._calls[oldest.tool_call_id]
            self._pending.pop(oldest.tool_call_id, None)

    def _closed(self, event: Event, status: Status) -> None:
        if event.tool_call_id is None:
            return
        call = self._calls.get(event.tool_call_id)
        if call is not None:
            if call.status is Status.RUNNING:
                by = "EVI"
            else:
                by = EVI_OR_OTHER if status is Status.FAILED else SOMEONE_ELSE
            call.close(status, by, event.at)
