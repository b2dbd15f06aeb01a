"""All chats of the hub, live and ended, within limits. No sockets, no clock, no awaiting.

Ended chats are kept for the REST history for as long as there is room. When all histories together are too large,
ended chats go first, then the older half of the largest.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evi_mcp.hub.chat import HubChat
from evi_mcp.hub.closes import Close, Ending
from evi_mcp.hub.facts import Facts
from evi_mcp.hub.history import MAX_AUDIO_BYTES, MAX_BYTES, MAX_MESSAGES, History
from evi_mcp.protocol.chat_id import check_chat_id


class ChatIdTaken(Exception):
    """A live chat has this id."""


class TooManyChats(Exception):
    """There are as many live chats as there may be."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the hub keeps. Sizes are bytes of UTF-8."""

    live_chats: int = 5000
    ended_chats: int = 200
    messages: int = MAX_MESSAGES
    bytes: int = MAX_BYTES
    audio_bytes: int = MAX_AUDIO_BYTES
    all_bytes: int = 2**30
    """Of all histories together."""


class Chats:
    """The chats, oldest first.

    Args:
        new_id: Makes ids, each once: of chats, connections and commands.
        limits: What is kept.
    """

    def __init__(self, new_id: Callable[[], str], limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._new_id = new_id
        self._chats: dict[str, HubChat] = {}
        self._live: set[HubChat] = set()
        self._sizes: dict[HubChat, int] = {}
        self._size = 0
        self.listeners: list[Callable[[], None]] = []
        """They are called whenever a chat was opened or has ended."""
        self.opened: list[Callable[[HubChat], None]] = []
        """They are called with each chat that was opened."""

    def __iter__(self) -> Iterator[HubChat]:
        return iter(self._chats.values())

    @property
    def full(self) -> bool:
        """Whether no more chats can be opened."""
        return len(self._live) >= self.limits.live_chats

    @property
    def live_chats(self) -> tuple[HubChat, ...]:
        """Those that have not ended, in no order."""
        return tuple(self._live)

    def get(self, chat_id: str) -> HubChat | None:
        """The chat with this id, live or ended; `None` if there is none, or none any more."""
        return self._chats.get(chat_id)

    def live(self, chat_id: str) -> HubChat | None:
        """The live chat with this id, or `None`."""
        chat = self._chats.get(chat_id)
        return None if chat is None or chat.ending is not None else chat

    def open(
        self, *, started_ms: int, chat_id: str | None = None, chat_group_id: str | None = None, **facts: Any
    ) -> HubChat:
        """A new chat, live at once. An ended one with its id is forgotten.

        Args:
            started_ms: The time.
            chat_id, chat_group_id: `None` makes one up.
            facts: The other fields of `Facts`.

        Raises:
            InvalidChatId: One of the ids cannot be used.
            ChatIdTaken: There is a live chat with this id.
            TooManyChats: There are too many.
        """
        chat_id = check_chat_id(chat_id or self._new_id())
        chat_group_id = check_chat_id(chat_group_id or self._new_id())
        if self.live(chat_id) is not None:
            raise ChatIdTaken(chat_id)
        if self.full:
            raise TooManyChats
        if (former := self._chats.get(chat_id)) is not None:
            self._forget(former)
        history = History(self.limits.messages, self.limits.bytes, self.limits.audio_bytes)
        chat = HubChat(Facts(chat_id, chat_group_id, **facts), history, started_ms=started_ms, new_id=self._new_id)
        self._chats[chat_id] = chat
        self._live.add(chat)
        self._changed()
        for told in tuple(self.opened):
            told(chat)
        return chat

    def end(self, chat: HubChat, status: str, close: Close, at_ms: int) -> None:
        """Ends a chat; only the first call counts."""
        if chat.ending is not None:
            return
        chat.end(Ending(status, close), at_ms)
        self._live.discard(chat)
        self.measure(chat)
        ended = [known for known in self if known.ending is not None]
        for known in ended[: max(0, len(ended) - self.limits.ended_chats)]:
            self._forget(known)
        self._changed()

    def reopen(self, chat: HubChat) -> bool:
        """Takes back the end of a chat, if it is still known and there is room. Whether it is live again."""
        if self._chats.get(chat.chat_id) is not chat or self.full:
            return False
        chat.reopen()
        self._live.add(chat)
        self._changed()
        return True

    def publish(self, chat: HubChat, message: Mapping[str, Any], at_ms: int) -> None:
        """As `HubChat.publish`, within the limit of all chats."""
        chat.publish(message, at_ms)
        self.measure(chat)

    def measure(self, chat: HubChat) -> None:
        """Takes note of the size of a chat's history, and makes room where all of them are too large."""
        if self._chats.get(chat.chat_id) is not chat:
            return
        self._size += chat.history.size - self._sizes.get(chat, 0)
        self._sizes[chat] = chat.history.size
        while self._size > self.limits.all_bytes:
            ended = next((known for known in self if known.ending is not None), None)
            if ended is not None:
                self._forget(ended)
                continue
            largest = max(self._sizes, key=self._sizes.__getitem__)
            largest.history.halve()
            self._size += largest.history.size - self._sizes[largest]
            self._sizes[largest] = largest.history.size

    def _forget(self, chat: HubChat) -> None:
        del self._chats[chat.chat_id]
        self._size -= self._sizes.pop(chat, 0)

    def _changed(self) -> None:
        for listener in tuple(self.listeners):
            listener()
