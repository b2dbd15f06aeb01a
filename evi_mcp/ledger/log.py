"""The bounded log of one chat's events, and the cursors that readers hold into it.

Reading consumes nothing and costs the same wherever in the log it starts. When the log is full the oldest event
goes, and whoever had not read it is told (`gap`).
"""

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from evi_mcp.chat.events import Event
from evi_mcp.errors import InvalidCursor

EARLIEST, LATEST = "earliest", "latest"
MAX_LOG_SIZE = 32 * 2**20
"""The most characters that one chat's log holds, whatever the number of its events."""

_CURSOR = re.compile(r"([0-9a-z]{1,16})-(\d{1,18})", re.ASCII)


class Position(NamedTuple):
    """Where a reader stands: after the event `seq`. `foreign`: the cursor was another process's."""

    seq: int
    foreign: bool = False


class Cursors:
    """Makes and reads cursors: `<epoch>-<seq>`, where the epoch names this run of the process."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.last_seq = 0

    def next_seq(self) -> int:
        """The number of the next event, whichever chat it belongs to."""
        self.last_seq += 1
        return self.last_seq

    def at(self, seq: int) -> str:
        """The cursor of a reader who has seen everything up to and including `seq`."""
        return f"{self.epoch}-{seq}"

    def read(self, cursor: str) -> Position:
        """The position that a cursor, `earliest` or `latest` names now.

        Raises:
            InvalidCursor: It is none of them, or one that was never given out.
        """
        if cursor == EARLIEST:
            return Position(0)
        if cursor == LATEST:
            return Position(self.last_seq)
        match = _CURSOR.fullmatch(cursor)
        if match is None:
            raise InvalidCursor(cursor)
        epoch, seq = match.groups()
        if epoch != self.epoch:
            return Position(0, foreign=True)
        if int(seq) > self.last_seq:
            raise InvalidCursor(cursor)  # nobody was given it, and a condition on it would always hold
        return Position(int(seq))


class EventLog:
    """The last `max_events` events of one chat, oldest first."""

    def __init__(self, max_events: int) -> None:
        self._max_events = max_events
        self._events: list[Event] = []
        self._sizes = array("q")  # as they were when appended: the scores of an event may come later
        self._start = 0  # what lies before it is dropped; the list is cut when half of it is
        self._size = 0
        self.appended = 0
        self.last_seq = 0
        """The `seq` of the newest event; 0 if there is none."""
        self.dropped_seq = 0
        """The `seq` of the last event that was dropped; 0 if none was."""

    def __len__(self) -> int:
        return len(self._events) - self._start

    def __iter__(self) -> Iterator[Event]:
        return self.after(0)

    def __reversed__(self) -> Iterator[Event]:
        """Newest first. To be read before the next one is appended."""
        return (self._events[place] for place in range(len(self._events) - 1, self._start - 1, -1))

    @property
    def first(self) -> Event | None:
        """The oldest event kept."""
        return self._events[self._start] if len(self) else None

    @property
    def last(self) -> Event | None:
        """The newest event."""
        return self._events[-1] if len(self) else None

    def append(self, event: Event) -> None:
        """Adds the newest event, and drops the oldest if there is no room."""
        self._events.append(event)
        self.appended += 1
        self.last_seq = event.seq
        size = event.size
        self._sizes.append(size)
        self._size += size
        kept = len(self._events) - self._start
        while kept > self._max_events or (self._size > MAX_LOG_SIZE and kept > 1):
            self._size -= self._sizes[self._start]
            self.dropped_seq = self._events[self._start].seq
            self._start += 1
            kept -= 1
        if self._start > 64 and self._start * 2 > len(self._events):
            del self._events[: self._start], self._sizes[: self._start]
            self._start = 0

    def after(self, seq: int) -> Iterator[Event]:
        """The events after `seq`, oldest first. To be read before the next one is appended."""
        index = bisect_right(self._events, seq, lo=self._start, key=lambda event: event.seq)
        return (self._events[place] for place in range(index, len(self._events)))
