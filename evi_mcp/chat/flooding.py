"""Limits the rate of events of unknown types: it counts those beyond the limit, and keeps the newest of each type.

A service may send a new type a hundred times a second (levels of a microphone, say). If each became an event, they
would wake every wait and push speech out of the log. So each chat has a rate limit for unknown types, in number and in
bytes. Events beyond it are held back; as soon as the limit allows, the newest of each type is logged, with the count.
"""

import msgspec

from evi_mcp.chat.events import Event

BURST, PER_S = 20.0, 2.0
"""How many events of unknown types are logged at once, and how many more each second."""
BURST_BYTES, BYTES_PER_S = 256 * 1024.0, 8 * 1024.0
"""The same in bytes."""
MAX_TYPES = 50
"""How many types are held back separately; all others count as the one type `OTHERS`."""
OTHERS = "other types"


class UnknownTypes:
    """The rate limit of one chat, and the events that are held back."""

    def __init__(self) -> None:
        self._events, self._bytes = BURST, BURST_BYTES
        self._at = 0.0
        self._held: dict[str, Event] = {}

    def admit(self, event: Event, elapsed: float) -> list[Event]:
        """Takes in an event, and returns the events to log now; none if it is held back.

        Args:
            event: An event of an unknown type.
            elapsed: The time, in seconds of `Clock.elapsed`.
        """
        self._refill(elapsed)
        held = self._held.pop(event.type, None)
        if held is None and len(self._held) >= MAX_TYPES:
            event = msgspec.structs.replace(event, type=OTHERS)
            held = self._held.pop(OTHERS, None)
        if held is not None:
            event = msgspec.structs.replace(event, count=(held.count or 1) + 1)
        self._held[event.type] = event
        return self.release(elapsed)

    def release(self, elapsed: float) -> list[Event]:
        """The held-back events that the limit allows now, oldest type first."""
        if not self._held:
            return []
        self._refill(elapsed)
        released = []
        while self._held and self._events >= 1.0 and self._bytes > 0.0:
            event = self._held.pop(next(iter(self._held)))
            self._events -= 1.0
            self._bytes -= event.size
            released.append(event)
        return released

    def _refill(self, elapsed: float) -> None:
        passed = max(0.0, elapsed - self._at)
        self._events = min(BURST, self._events + passed * PER_S)
        self._bytes = min(BURST_BYTES, self._bytes + passed * BYTES_PER_S)
        self._at = elapsed
