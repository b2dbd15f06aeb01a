"""Pages: the events that a reader of one or many chats gets at once, and where the next page starts."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import NamedTuple, Protocol

from evi_mcp.chat.events import COMMAND, Event
from evi_mcp.chat.log import EventLog

MAX_SCANNED = 20_000
"""The most events that are looked at for one page, shown or not: a page must not block other tasks."""


class GapReason(StrEnum):
    """Why a page may lack events after its reader's cursor."""

    EXPIRED = "expired"  # events after the cursor were dropped to make room
    RESTARTED = "restarted"  # the cursor comes from another process
    DETACHED = "detached"  # the chat was detached in between, and its history has come again
    BEFORE_ATTACH = "before_attach"  # the service does not replay what was said before the attach


class Gap(NamedTuple):
    """Events that a reader missed. `oldest_seq` is the oldest event that can be read; `None` if there is none yet."""

    reason: GapReason
    oldest_seq: int | None


class Filter(NamedTuple):
    """Which events a reader wants.

    Args:
        types: As in the tools: `None` means all but the hidden ones, and the reader's own commands.
        reader: The signature of the caller who reads; `None` for one who gives no commands.
    """

    types: frozenset[str] | None = None
    reader: str | None = None

    def shows(self, event: Event) -> bool:
        """Whether the event belongs on the page."""
        if self.types is not None:
            return event.type in self.types
        is_own = event.type == COMMAND and event.signature is not None and event.signature == self.reader
        return not event.hidden and not is_own


class Readable(Protocol):
    """The part of a chat that pages are read from; a `ChatRecord`."""

    @property
    def chat_id(self) -> str: ...

    @property
    def log(self) -> EventLog: ...

    @property
    def unknown_before(self) -> int: ...

    @property
    def forgotten_to(self) -> int: ...


class Start(NamedTuple):
    """Where a reader goes on.

    Args:
        after: Gives for each chat the number of the event after which the reader goes on.
        upto: The newest number: the place of a reader who has read everything.
        restarted: Whether the reader's cursor comes from another process.
    """

    after: Callable[[Readable], int]
    upto: int
    restarted: bool = False


@dataclass(slots=True)
class Page:
    """`events` in order of `seq`; `seq` is where the next page starts; `omitted` counts by type."""

    events: list[Event] = field(default_factory=list)
    seq: int = 0
    more: bool = False
    gap: Gap | None = None
    omitted: Counter[str] = field(default_factory=Counter)


def read_page(
    chats: Iterable[Readable],
    start: Start,
    wanted: Filter,
    *,
    limit: int,
    max_chars: int,
    length: Callable[[Event], int],
) -> Page:
    """The next page of the merged logs.

    Args:
        limit: The most events on it.
        max_chars: The most characters of text on it. A larger event comes on a page of its own.
        length: How many characters an event takes in the text.
    """
    places = [(chat, start.after(chat)) for chat in chats]
    page = Page(seq=min((seq for _, seq in places), default=start.upto), gap=_gap(places, wanted, start.restarted))
    room = max_chars
    for scanned, event in enumerate(_news(places)):
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
    page.seq = max(page.seq, start.upto)
    return page


def _news(places: list[tuple[Readable, int]]) -> Iterator[Event]:
    news = [chat.log.after(seq) for chat, seq in places if chat.log.last_seq > seq]
    return heapq.merge(*news, key=lambda event: event.seq) if len(news) > 1 else chain(*news)


def _gap(places: list[tuple[Readable, int]], wanted: Filter, restarted: bool) -> Gap | None:
    def dropped(chat: Readable) -> int:
        return chat.log.dropped_shown_seq if wanted.types is None else chat.log.dropped_seq

    if restarted:
        reason = GapReason.RESTARTED
    elif any(dropped(chat) > seq for chat, seq in places):
        reason = GapReason.EXPIRED
    elif any(0 < seq < chat.forgotten_to for chat, seq in places):
        reason = GapReason.DETACHED
    elif any(chat.unknown_before > seq for chat, seq in places):
        reason = GapReason.BEFORE_ATTACH
    else:
        return None
    return Gap(reason, min((chat.log.first.seq for chat, _ in places if chat.log.first), default=None))
