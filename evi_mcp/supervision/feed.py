"""The feed: the events of the chats that a reader may see, from a given number on.

The logs are its only buffer, so a slow reader delays nobody and fills no memory; the feed says if unread events were
dropped. Waits, subscriptions, cues, `watch` and the fallback of tool calls get their events from it.
"""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from heapq import merge
from itertools import islice
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import anyio.lowlevel

from evi_mcp.chat.events import Event
from evi_mcp.supervision.listeners import Listeners
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.wakeups import Bell

BATCH = 500
"""The most events that are looked at for one batch."""


class Chats(Protocol):
    """The attached chats; a `ChatRegistry`."""

    listeners: Listeners

    def chats(self) -> list[LiveChat]:
        """All attached chats."""
        ...

    def find(self, chat_id: str) -> LiveChat | None:
        """The attached chat with this id; `None` if there is none."""
        ...


class Scope(NamedTuple):
    """The chats of a reader: those of `only`, or (`None`) all that it may see, including those attached later."""

    chats: Chats
    sees: Callable[[str], bool]
    only: Sequence[LiveChat] | None = None

    def covered(self) -> list[LiveChat]:
        """The chats of the scope as of now."""
        if self.only is not None:
            return list(self.only)
        return [chat for chat in self.chats.chats() if self.sees(chat.chat_id) and not chat.came_to_nothing]


class Subscription:
    """Gets events as they are logged, from entering to leaving the block.

    Args:
        scope: The chats.
        heard: Called with each event. It must be fast.
        types: The types of the events; `None` for all.
    """

    def __init__(self, scope: Scope, heard: Callable[[Event], None], types: Collection[str] | None = None) -> None:
        self._scope, self._heard = scope, heard
        self._types = None if types is None else frozenset(types)
        self._places: Sequence[Chats | LiveChat] = [scope.chats] if scope.only is None else scope.only

    def __enter__(self) -> Self:
        for place in self._places:
            place.listeners.add(self._hear, self._types)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the subscription."""
        for place in self._places:
            place.listeners.remove(self._hear)

    def _hear(self, event: Event) -> None:
        if self._scope.only is not None or self._scope.sees(event.chat_id):
            self._heard(event)


class Batch(NamedTuple):
    """Events in the order of their numbers. `dropped`: the ids of chats in which unread events were dropped."""

    events: list[Event]
    dropped: list[str]


class Feed:
    """Events in batches: a context manager, and inside it an async iterator that never ends.

    Args:
        scope, types: As for `Subscription`.
        after: The number after which to begin; events that are logged already come first.
    """

    def __init__(self, scope: Scope, types: Collection[str] | None = None, *, after: int = 0) -> None:
        self._scope = scope
        self._types = None if types is None else frozenset(types)
        self._after = after
        self._bell = Bell()
        self._unread: dict[LiveChat, int] = {}  # chats with unread events: the number to go on after
        self._subscription = Subscription(scope, self._note, types)

    def __enter__(self) -> Self:
        self._subscription.__enter__()
        for chat in self._scope.covered():
            if chat.record.log.last_seq > self._after:
                self._unread[chat] = self._after
        if self._unread:
            self._bell.ring()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._subscription.stop()

    @property
    def is_behind(self) -> bool:
        """Whether there is something to read now."""
        return bool(self._unread)

    def _note(self, event: Event) -> None:
        chat = self._scope.chats.find(event.chat_id)
        if chat is not None:
            self._unread.setdefault(chat, event.seq - 1)
            self._bell.ring()

    async def __aiter__(self) -> AsyncIterator[Batch]:
        while True:
            while self._unread:
                batch = self.read()
                if batch.events or batch.dropped:
                    yield batch
                await anyio.lowlevel.checkpoint()
            await self._bell.wait()

    async def wait(self) -> None:
        """Returns once there may be more to read."""
        await self._bell.wait()

    def read(self) -> Batch:
        """The next events, perhaps none. All events that were looked at count as read."""
        dropped = [chat.chat_id for chat, seq in self._unread.items() if chat.record.log.dropped_seq > seq]
        logs = [((event, chat) for event in chat.record.log.after(seq)) for chat, seq in self._unread.items()]
        events, looked_at = list[Event](), 0
        for event, chat in islice(merge(*logs, key=lambda pair: pair[0].seq), BATCH):
            looked_at += 1
            self._unread[chat] = event.seq
            if self._types is None or event.type in self._types:
                events.append(event)
        if looked_at < BATCH:
            self._unread.clear()
        return Batch(events, dropped)
