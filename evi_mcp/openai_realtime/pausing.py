"""A pause, which the service has not got: the assistant keeps listening and is not asked for answers.

The session's turn detection goes on with `create_response` off and without an idle time-out, what is spoken is cut,
and what somebody else asks for meanwhile is cancelled. Its limits are told: another client can still make the
assistant begin a word, and where a client decides on turns (`turn_detection: null`) nothing holds it back but that.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from evi_mcp.openai_realtime.outbox import Outbox
from evi_mcp.openai_realtime.reading import Message, Object, text, thing
from evi_mcp.openai_realtime.responses import Response
from evi_mcp.openai_realtime.tickets import Ticket, result_of

MAX_REPAIRS = 5
"""How often a pause is put back that another client has undone."""

LIMITS = (
    "The pause is emulated: what was being said was cut, and what another client of the call asks for is cancelled once"
    " it begins, so that a word of it may be heard. Tools that were called stay open."
)
CLIENT_DECIDES = " In this call a client decides when to ask for an answer, so nothing else holds the assistant back."


@dataclass(eq=False)
class _Change:
    """An update of the turn detection that was written, until the service shows it."""

    event_id: str
    wanted: Object
    ticket: Ticket | None
    note: str


@dataclass(frozen=True)
class Held:
    """An assistant that is held back although nobody holds the call any more: what whoever attaches again has to know.

    `detection` is the turn detection that a resume brings back. `resumed`: a resume was asked for, and nobody has seen
    it take effect.
    """

    detection: Object
    resumed: bool


class Pause:
    """Holds the assistant back, and lets it go on.

    Args:
        outbox: Where client events are written.
        publish: Takes messages of the chat: what became of a pause.
        held: What a former adapter of the call has left; `None` if nothing.
    """

    def __init__(self, outbox: Outbox, publish: Callable[[Message], None], held: Held | None = None) -> None:
        self._outbox = outbox
        self._publish = publish
        self._session: Object = {}
        self._kept: Object = held.detection if held is not None else {}
        self._unknown: Ticket | None = None  # a pause that waits for the state of the session
        self._resuming: Ticket | None = None  # a resume that waits for it
        self._change: _Change | None = None
        self._repairs = 0
        self.on = held is not None

    @property
    def held(self) -> Held | None:
        """What is to be known if the call is lost now; `None` if the assistant is not held back."""
        if self.on:
            return Held(self._kept, resumed=False)
        if self._resuming is not None:
            return Held(self._kept, resumed=True)
        if self._change is not None and self._change.wanted.get("create_response", True):
            return Held(self._change.wanted, resumed=True)
        return None

    def pause(self, ticket: Ticket, running: Iterable[Response]) -> None:
        """Holds the assistant back.

        Args:
            ticket: Done once the session shows it.
            running: The responses that are made or heard now; they are cut.
        """
        if self._resuming is not None:
            self._finish(self._resuming, "Another command came before it took effect.")
            self._resuming, self.on = None, True
        if not self.on:
            self.on, self._repairs, self._kept = True, 0, self._detection
            for response in running:
                self.cancel(response)
        if not self._is_known:
            if self._unknown is None:
                self._outbox.send("session.update", session={"type": "realtime"})  # the answer shows what there is
            else:
                self._unknown.refuse("another pause came before it took effect")
            self._unknown = ticket
        else:
            self._hold(ticket)

    def resume(self, ticket: Ticket) -> None:
        """Lets the assistant go on."""
        was_on, self.on = self.on, False
        if self._unknown is not None:
            self._unknown.refuse("it was resumed before it took effect")
            self._unknown = None
        if self._resuming is not None:
            self._finish(self._resuming, "Another command came before it took effect.")
            self._resuming, was_on = None, True
        if was_on and self._kept and not self._is_known:
            self._resuming = ticket
            self._outbox.send("session.update", session={"type": "realtime"})  # the answer shows what there is
            return
        if was_on and self._kept:
            self._update(self._kept, ticket)
        else:
            self._finish(ticket, "" if was_on else "The assistant was not paused from here.")
        self._kept = {}

    def cancel(self, response: Response) -> None:
        """Cuts a response, for the service and for the caller."""
        if not response.done:
            self._outbox.send("response.cancel", response_id=response.id)
        self._outbox.send("output_audio_buffer.clear")
        response.spoken_over = False

    def undone(self, response: Response) -> None:
        """Somebody else has asked for a response during the pause."""
        self.cancel(response)
        self._publish(
            {
                "type": "error",
                "code": "W9102",
                "slug": "pause_broken",
                "message": "Another client of the call asked for an answer during the pause; it was cancelled.",
            }
        )

    def saw(self, session: Object) -> None:
        """The state of the session, after anybody's update."""
        self._session = session
        if not self._is_known:
            return
        detection, change = self._detection, self._change
        if self._unknown is not None:
            ticket, self._unknown = self._unknown, None
            self._kept = detection
            self._hold(ticket)
        elif self._resuming is not None:
            ticket, self._resuming = self._resuming, None
            self._update(self._kept, ticket)
            self._kept = {}
        elif change is not None and all(detection.get(name) == value for name, value in change.wanted.items()):
            self._change = None
            if change.ticket is not None:
                self._finish(change.ticket, change.note)
        elif change is None and self.on and detection.get("create_response", True) and detection:
            self._kept = detection  # another client has set it: theirs is what a resume brings back
            self._repairs += 1
            if self._repairs <= MAX_REPAIRS:
                self._update(_held(detection), None)

    def failed(self, event_id: str, error: Object) -> bool:
        """An `error` for an update; whether it was one of these."""
        change = self._change
        if change is None or change.event_id != event_id:
            return False
        self._change = None
        if change.ticket is not None:
            change.ticket.refuse(text(error, "message") or "the service does not change the turn detection")
        return True

    def reconnected(self) -> None:
        """An update that was not answered is written again: twice is the same as once."""
        if self._change is not None:
            self._update(self._change.wanted, self._change.ticket, self._change.note)
        elif self._unknown is not None or self._resuming is not None:
            self._outbox.send("session.update", session={"type": "realtime"})

    @property
    def _is_known(self) -> bool:
        return "turn_detection" in thing(thing(self._session, "audio"), "input")

    @property
    def _detection(self) -> Object:
        """The turn detection as it is; empty if a client decides on turns."""
        return thing(thing(thing(self._session, "audio"), "input"), "turn_detection")

    def _hold(self, ticket: Ticket) -> None:
        if self._kept:
            self._update(_held(self._kept), ticket, LIMITS)
        else:
            self._finish(ticket, LIMITS + CLIENT_DECIDES)

    def _update(self, detection: Object, ticket: Ticket | None, note: str = "") -> None:
        former = self._change
        if former is not None and former.ticket not in (None, ticket):
            self._finish(former.ticket, "Another command came before it took effect.")
        heard = dict(thing(thing(self._session, "audio"), "input"))
        heard.pop("format", None)  # it was agreed with the caller's side
        update = {"type": "realtime", "audio": {"input": {**heard, "turn_detection": dict(detection)}}}
        self._change = _Change(self._outbox.send("session.update", session=update), detection, ticket, note)

    def _finish(self, ticket: Ticket | None, note: str) -> None:
        if ticket is not None:
            self._publish(result_of(ticket, "confirmed", note))
            ticket.done()


def _held(detection: Object) -> dict[str, Any]:
    """The same turn detection without answers of its own accord."""
    return {name: value for name, value in detection.items() if name != "idle_timeout_ms"} | {"create_response": False}
