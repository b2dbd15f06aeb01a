"""Chats of the service that have begun, where that is known at once: a hub in this process tells of them.

Each takes a number among those of the events, so that a cursor says who has been told of it, and nobody is told twice.
"""

from collections.abc import Callable
from typing import NamedTuple

from evi_mcp.upstream.directory import Announces, ServiceChat

MAX_ARRIVALS = 1000
"""Chats that are remembered; the oldest is forgotten first."""


class Arrival(NamedTuple):
    """A chat that has begun; `seq` is its number."""

    seq: int
    chat: ServiceChat


class Arrivals:
    """The newest chats of the service.

    Args:
        reserve: Uses up a number.
    """

    def __init__(self, reserve: Callable[[], int]) -> None:
        self._reserve = reserve
        self._source: Announces | None = None
        self._arrivals: dict[str, Arrival] = {}
        self._listeners: dict[Callable[[str], None], None] = {}

    @property
    def are_known(self) -> bool:
        """Whether anybody tells of them."""
        return self._source is not None

    def hear(self, source: Announces) -> Callable[[], None]:
        """From now on `source` tells of new chats; undone by what is returned."""
        self._source = source
        return source.announce(self._begun)

    def _begun(self, chat: ServiceChat) -> None:
        self._arrivals.pop(chat.chat_id, None)
        self._arrivals[chat.chat_id] = Arrival(self._reserve(), chat)
        if len(self._arrivals) > MAX_ARRIVALS:
            del self._arrivals[next(iter(self._arrivals))]
        for listener in list(self._listeners):
            listener(chat.chat_id)

    def after(self, seq: int) -> list[Arrival]:
        """Those of later numbers that have not ended, oldest first."""
        source = self._source
        if source is None:
            return []
        for arrival in [known for known in self._arrivals.values() if not source.is_live(known.chat.chat_id)]:
            del self._arrivals[arrival.chat.chat_id]
        return [arrival for arrival in self._arrivals.values() if arrival.seq > seq]

    def listen(self, told: Callable[[str], None]) -> None:
        """From now on `told` is called with the id of each chat that begins."""
        self._listeners[told] = None

    def unlisten(self, told: Callable[[str], None]) -> None:
        """Undoes `listen`."""
        self._listeners.pop(told, None)
