"""Client events on their way to the service, each with an id by which an `error` is known to be about it."""

import itertools
from collections import deque
from typing import Any

from evi_mcp.openai_realtime.reading import Message

MAX_ID = 32
"""The longest id that is sure to be taken: a longer `call_id` was refused (reported in public for this service)."""


class Outbox:
    """Collects client events.

    Args:
        prefix: Letters and digits, at most 16, that no other client of the call uses.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._numbers = itertools.count(1)
        self._events: deque[Message] = deque()

    def new_id(self) -> str:
        """An id for an event, an item or a response, given once."""
        return f"evi_{self._prefix}_{next(self._numbers)}"[:MAX_ID]

    def is_ours(self, event_id: str) -> bool:
        """Whether an event id was given here."""
        return event_id.startswith(f"evi_{self._prefix}_")

    def send(self, type_: str, /, **fields: Any) -> str:
        """Writes an event; returns its id."""
        event_id = self.new_id()
        self._events.append({"type": type_, "event_id": event_id, **fields})
        return event_id

    def take(self) -> list[Message]:
        """What is to be written, in order."""
        events = list(self._events)
        self._events.clear()
        return events
