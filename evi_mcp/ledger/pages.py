"""Pages: what a reader of one or many logs gets at once, and where to go on."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import NamedTuple

from evi_mcp.chat.events import Event
from evi_mcp.ledger.log import EventLog, Position

MAX_SCANNED = 20_000
"""Events looked at for one page, shown or not: a page must not hold up everybody else."""


class GapReason(StrEnum):
    """Why a page does not begin where its reader stood."""

    EXPIRED = "expired"  # the events after the cursor were dropped, since the log was full
    RESTARTED = "restarted"  # the cursor is another process's


class Gap(NamedTuple):
    """`oldest_seq` is the oldest event that could be read; `None` if there is none yet."""

    reason: GapReason
    oldest_seq: int | None


class Filter(NamedTuple):
    """Which events a reader wants. `types` as in the tools: `None` means all but the hidden ones."""

    types: frozenset[str] | None = None

    def shows(self, event: Event) -> bool:
        """Whether the event belongs on the page."""
        return not event.hidden if self.types is None else event.type in self.types


@dataclass(slots=True)
class Page:
    """`events` in order of `seq`; `seq` is where the next page starts; `omitted` counts by type."""

    events: list[Event] = field(default_factory=list)
    seq: int = 0
    more: bool = False
    gap: Gap | None = None
    omitted: Counter[str] = field(default_factory=Counter)


def read_page(
    logs: Iterable[EventLog],
    position: Position,
    wanted: Filter,
    *,
    limit: int,
    max_chars: int,
    length: Callable[[Event], int],
    upto: int,
) -> Page:
    """The next page of the merged logs after `position`.

    Args:
        limit: The most events on it.
        max_chars: The most characters of text on it. An event that is larger alone still comes, alone.
        length: How many characters an event takes in the text.
        upto: The newest `seq` there is: where a reader stands who has read all.
    """
    logs = list(logs)
    page = Page(seq=position.seq, gap=_gap(logs, position))
    room = max_chars
    news = [log.after(position.seq) for log in logs if log.last_seq > position.seq]
    events = heapq.merge(*news, key=lambda event: event.seq) if len(news) > 1 else chain(*news)
    for scanned, event in enumerate(events):
        if scanned == MAX_SCANNED:
            page.more = True
            return page
        if not wanted.shows(event):
            page.omitted[event.type] += 1
            page.seq = event.seq
            continue
        room -= length(event)
        if len(page.events) == limit or (room < 0 and page.events):
            page.more = True
            return page
        page.events.append(event)
        page.seq = event.seq
    page.seq = max(page.seq, upto)
    return page


def _gap(logs: list[EventLog], position: Position) -> Gap | None:
    lost = any(log.dropped_seq > position.seq for log in logs)
    if not lost and not position.foreign:
        return None
    oldest = min((log.first.seq for log in logs if log.first), default=None)
    return Gap(GapReason.RESTARTED if position.foreign else GapReason.EXPIRED, oldest)
