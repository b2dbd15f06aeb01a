"""Whose turn it is to speak: one response at a time, and who asks for the next.

`response.create` does not wait: while a response of the conversation runs it fails. So what asks for a response waits
for the end of the one before, and what somebody else asks for meanwhile counts for it too.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from evi_mcp.openai_realtime.outbox import Outbox
from evi_mcp.openai_realtime.reading import Object, text
from evi_mcp.openai_realtime.responses import OURS, Response
from evi_mcp.openai_realtime.tickets import Ticket

SAY_WITHIN_S = 5.0
"""A line that a supervisor has written is spoken within so many seconds or not at all: later it is spoken over
somebody."""
ACTIVE = "conversation_already_has_active_response"
MAX_WAITING = 100
BUSY = "the assistant was busy for 5 s; nothing was said"


@dataclass(eq=False)
class Line:
    """Words that a supervisor gives to the assistant to say."""

    words: str
    ticket: Ticket
    since: float
    mark: str = ""


@dataclass
class _Requested:
    """A `response.create` that was written and not answered. `line` is `None` for a plain answer."""

    event_id: str
    line: Line | None = None
    fields: dict[str, Any] = field(default_factory=dict)


class Floor:
    """Asks for responses, each when it can be had.

    Args:
        outbox: Where client events are written.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._lines: deque[Line] = deque()
        self._said: dict[str, str] = {}
        self._requested: _Requested | None = None
        self._active: set[str] = set()
        self._unknown_active = False
        self.owes_answer = False
        """Whether something was written that the assistant is to answer to, and no response has begun since."""
        self.paused = False

    def words_for(self, mark: str) -> str | None:
        """What a response with this mark was asked to say."""
        return self._said.get(mark)

    def is_ours_to_say(self, response: Response) -> bool:
        """Whether a response says a line of a supervisor, which a pause does not hold back."""
        return response.ours is not None and response.ours in self._said

    def ask(self) -> None:
        """The assistant is to answer what was written."""
        self.owes_answer = True
        self.go_on()

    def say(self, line: Line) -> None:
        """The assistant is to say a line. A ticket is done once the service has begun with it."""
        if len(self._lines) >= MAX_WAITING:
            line.ticket.refuse("too many lines wait to be spoken")
            return
        self._lines.append(line)
        self.go_on()

    def began(self, response: Response, *, answers: bool) -> None:
        """`response.created`, of anybody.

        Args:
            response: It.
            answers: Whether it answers to what was said and written: a line of a supervisor does not.
        """
        if response.outside:
            return
        self._active.add(response.id)
        self.owes_answer = self.owes_answer and not answers
        requested = self._requested
        if requested is not None and response.ours == self._mark(requested):
            self._requested = None
            if requested.line is not None:
                requested.line.ticket.done()

    def ended(self, response: Response, now: float) -> None:
        """`response.done`."""
        self._active.discard(response.id)
        if not response.outside:
            self._unknown_active = False
        self.go_on(now)

    def failed(self, event_id: str, error: Object) -> bool:
        """An `error` for one of the requests; whether it was one."""
        requested = self._requested
        if requested is None or requested.event_id != event_id:
            return False
        self._requested = None
        if text(error, "code") == ACTIVE:  # somebody else was quicker; when that one ends, it is seen what is left
            self._unknown_active = not self._active
            if requested.line is not None:
                self._lines.appendleft(requested.line)
        elif requested.line is not None:
            requested.line.ticket.refuse(text(error, "message") or text(error, "code") or "the service refuses it")
        else:
            self.owes_answer = False
        return True

    def go_on(self, now: float | None = None) -> None:
        """Asks for the next response, if it can be had."""
        if now is not None:
            self.expire(now)
        if self._requested is not None or self._active or self._unknown_active:
            return
        if self._lines:
            line = self._lines.popleft()
            line.mark = self._outbox.new_id()
            self._said[line.mark] = line.words
            if len(self._said) > MAX_WAITING:
                del self._said[next(iter(self._said))]
            self._request(line, line.mark, **saying(line.words))
        elif self.owes_answer and not self.paused:
            self._request(None, self._outbox.new_id())

    def expire(self, now: float) -> None:
        """Refuses lines that can no longer be spoken in time."""
        while self._lines and now >= self._lines[0].since + SAY_WITHIN_S:
            self._lines.popleft().ticket.refuse(BUSY)

    def next_due(self) -> float | None:
        """When `expire` has something to do."""
        return self._lines[0].since + SAY_WITHIN_S if self._lines else None

    def cut(self) -> None:
        """The connection is gone: what runs is not known, nor what became of the last request. It is not made again:
        two answers are worse than none."""
        requested, self._requested = self._requested, None
        if requested is not None and requested.line is not None:
            requested.line.ticket.refuse(
                "the connection to the service broke before it said that the line is spoken; it may have been"
            )
        elif requested is not None:
            self.owes_answer = False
        self._active.clear()
        self._unknown_active = False

    def _mark(self, requested: _Requested) -> str:
        mark: str = requested.fields["metadata"][OURS]
        return mark

    def _request(self, line: Line | None, mark: str, **response: Any) -> None:
        fields = {**response, "metadata": {OURS: mark}}
        event_id = self._outbox.send("response.create", response=fields)
        self._requested = _Requested(event_id, line, fields)


def saying(words: str) -> dict[str, Any]:
    """A response that says these words. The service has no exact means; what was said is compared afterwards."""
    return {
        "input": [],
        "tool_choice": "none",
        "instructions": f"Say exactly the following words to the user, in their language, and nothing else:\n\n{words}",
    }
