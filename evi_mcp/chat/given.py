"""Lines that were given to be said: which messages came from a `user_input` or an `assistant_input` of this server.

EVI marks such a message with `from_text` and does not say who gave it, so it is known by its words. A message with
`from_text` that is nobody's here was given by somebody else: another supervisor, or the app that the user types in.
"""

from collections import deque
from typing import NamedTuple

from evi_mcp.chat.events import COMMAND, Event

MAX_AWAITED = 50
"""Lines that may still be said; the oldest is given up first."""

_SAID_AS = {"user_input": "user_message", "assistant_input": "assistant_message"}


class Giver(NamedTuple):
    """Who gave a line: the name that a caller claims, and its kind (`agent`, `person`, `server`)."""

    name: str
    kind: str


class _Line:
    """A line that was given, and the words of it that have not been said yet."""

    def __init__(self, command: Event) -> None:
        self.said_as = _SAID_AS[command.command or ""]
        self.giver = Giver(command.by or "", command.by_kind or "agent")
        self._words = self.left = (command.text or "").split()

    def is_said_in(self, message: Event) -> bool:
        """Whether a message says the next words of it. EVI may split a long line; an adapter that lets other words be
        said tells which line they are for (`asked_text`)."""
        if message.type != self.said_as:
            return False
        if message.asked_text is not None:
            return message.asked_text.split() == self._words
        words = (message.text or "").split()
        return bool(words) and self.left[: len(words)] == words


class GivenLines:
    """The lines of one chat that were given to be said, and by whom."""

    def __init__(self) -> None:
        self._awaited: deque[_Line] = deque(maxlen=MAX_AWAITED)
        self._givers: dict[int, Giver] = {}  # by the number of the message

    def see(self, event: Event) -> None:
        """Takes in an event of the chat."""
        if event.type == COMMAND and event.command in _SAID_AS:
            self._awaited.append(_Line(event))
        elif event.from_text and not event.interim:
            line = next((line for line in self._awaited if line.is_said_in(event)), None)
            if line is not None:
                self._givers[event.seq] = line.giver
                line.left = [] if event.asked_text is not None else line.left[len((event.text or "").split()) :]
                if not line.left:
                    self._awaited.remove(line)

    def giver_of(self, event: Event) -> Giver | None:
        """Who of this server gave the line that a message says; `None` if nobody did."""
        return self._givers.get(event.seq)

    def forget(self, event: Event) -> None:
        """The log has dropped an event."""
        self._givers.pop(event.seq, None)
