"""Types that nobody knows, when they come often or are bulky: counted, and the newest of each is kept.

A service may send a new type a hundred times a second (levels of a microphone, say). As events of their own they would
wake every wait and push speech out of the log. So each chat has an allowance for unknown types, in number and in bytes,
that fills up again; what goes beyond is held back, and the newest of each type is logged, with the count, as soon as
the allowance has room again.
"""

import msgspec

from evi_mcp.chat.events import Event

BURST, PER_S = 20.0, 2.0
"""Events of unknown types that are logged at once, and how many more each second."""
BURST_BYTES, BYTES_PER_S = 256 * 1024.0, 8 * 1024.0
"""The same in bytes."""
MAX_TYPES = 50
"""Types held back at once; more are counted as one of them."""
OTHERS = "other types"


class UnknownTypes:
    """The allowance of one chat, and what is held back."""

    def __init__(self) -> None:
        self._events, self._bytes = BURST, BURST_BYTES
        self._at = 0.0
        self._held: dict[str, Event] = {}

    def admit(self, event: Event, elapsed: float) -> list[Event]:
        """The events to log now that this one has come; none if it is held back.

        Args:
            event: Of a type that nobody knows.
            elapsed: Seconds of `Clock.elapsed`.
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
        """What was held back and has room now, oldest type first."""
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
