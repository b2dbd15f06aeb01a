"""The bounded log of one chat's events.

Reading consumes nothing, and costs the same wherever in the log it starts. A full log drops its oldest event, and a
reader who has not read it is told (`gap`). It drops minor events (audio, interim transcripts, late prosody, unknown
types) before others: a service that floods a chat with them must not push out what was said.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from heapq import merge

from evi_mcp.chat.events import Event


class EventLog:
    """The last `max_events` events of one chat, oldest first.

    Args:
        max_events: The most events kept.
        on_size: Called with each change of the kept size, in bytes.
        on_drop: Called with each event that is dropped.
    """

    def __init__(
        self,
        max_events: int,
        on_size: Callable[[int], None] = lambda _: None,
        on_drop: Callable[[Event], None] = lambda _: None,
    ) -> None:
        self._max_events = max_events
        self._on_size, self._on_drop = on_size, on_drop
        self._major, self._minor = _Lane(), _Lane()
        self.size = 0
        """The size of the kept events, in bytes."""
        self.appended = 0
        self.last: Event | None = None
        """The newest event, even if it is no longer kept; `None` if there was none."""
        self.dropped_seq = 0
        """The `seq` of the newest event that was dropped; 0 if none was."""
        self.dropped_shown_seq = 0
        """As `dropped_seq`, of events that are not hidden."""
        self.dropped_major_seq = 0
        """As `dropped_seq`, of events that are not minor: speech, tool calls, commands and the like."""

    def __len__(self) -> int:
        return len(self._major) + len(self._minor)

    def __iter__(self) -> Iterator[Event]:
        return self.after(0)

    def __reversed__(self) -> Iterator[Event]:
        """All events, newest first."""
        return merge(reversed(self._major), reversed(self._minor), key=lambda event: -event.seq)

    @property
    def last_seq(self) -> int:
        """The `seq` of the newest event; 0 if there was none."""
        return self.last.seq if self.last is not None else 0

    @property
    def first(self) -> Event | None:
        """The oldest event that is kept; `None` if there is none."""
        return min(
            (lane.oldest for lane in (self._major, self._minor) if len(lane)), key=lambda event: event.seq, default=None
        )

    def append(self, event: Event) -> None:
        """Adds the newest event, and drops one if there are too many."""
        lane = self._minor if event.minor else self._major
        size = lane.append(event)
        self.size += size
        self._on_size(size)
        self.appended += 1
        self.last = event
        if len(self) > self._max_events:
            self.drop()

    def drop(self) -> bool:
        """Drops the oldest minor event, or else the oldest, but never the newest. Returns whether it dropped one."""
        keep = self.last_seq
        for lane in (self._minor, self._major):
            if len(lane) and lane.oldest.seq != keep:
                event, size = lane.pop()
                minor = lane is self._minor
                self.note_dropped(event.seq, hidden=minor and event.hidden, minor=minor)
                self.size -= size
                self._on_size(-size)
                self._on_drop(event)
                return True
        return False

    def note_dropped(self, seq: int, *, hidden: bool = False, minor: bool = False) -> None:
        """Records that the event of this number was dropped."""
        self.dropped_seq = max(self.dropped_seq, seq)
        if not hidden:
            self.dropped_shown_seq = max(self.dropped_shown_seq, seq)
        if not minor:
            self.dropped_major_seq = max(self.dropped_major_seq, seq)

    def __contains__(self, seq: int) -> bool:
        """Whether the event of this number is kept."""
        event = next(self.after(seq - 1), None)
        return event is not None and event.seq == seq

    def after(self, seq: int) -> Iterator[Event]:
        """The events after `seq`, oldest first. Read them before the next event is appended."""
        major, minor = self._major.after(seq), self._minor.after(seq)
        if major is None or minor is None:
            return minor or major or iter(())
        return merge(major, minor, key=lambda event: event.seq)


class _Lane:
    """A queue of events with their sizes; its memory is freed whenever half of it has been dropped."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._sizes = array("q")
        self._start = 0

    def __len__(self) -> int:
        return len(self._events) - self._start

    def __reversed__(self) -> Iterator[Event]:
        return (self._events[place] for place in range(len(self._events) - 1, self._start - 1, -1))

    @property
    def oldest(self) -> Event:
        return self._events[self._start]

    def append(self, event: Event) -> int:
        """Adds an event. Returns its size."""
        size = event.size
        self._events.append(event)
        self._sizes.append(size)
        return size

    def pop(self) -> tuple[Event, int]:
        """Removes the oldest event. Returns it and its size."""
        event, size = self._events[self._start], self._sizes[self._start]
        self._start += 1
        if self._start > 64 and self._start * 2 > len(self._events):
            del self._events[: self._start], self._sizes[: self._start]
            self._start = 0
        return event, size

    def after(self, seq: int) -> Iterator[Event] | None:
        """The events after `seq`; `None` if there are none."""
        events = self._events
        index = bisect_right(events, seq, lo=self._start, key=lambda event: event.seq)
        return (events[place] for place in range(index, len(events))) if index < len(events) else None
