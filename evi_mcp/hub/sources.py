"""Chats whose source is in this process: a scripted call, an adapter to another service.

An adapter is to the hub what a bot is, without a link between them.
"""

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import anyio

from evi_mcp.clock import Clock
from evi_mcp.hub.chat import HubChat
from evi_mcp.hub.chats import Chats
from evi_mcp.hub.closes import NORMAL_CLOSURE, Close
from evi_mcp.hub.commands import Delivery
from evi_mcp.logs import fields
from evi_mcp.protocol.codec import MAX_FRAME_BYTES

_log = logging.getLogger(__name__)


class SourceCommand:
    """A command for a source, which says what became of it, once: `done` or `refuse`."""

    def __init__(self, source: "ChatSource", delivery: Delivery) -> None:
        self._source = source
        self._delivery = delivery

    @property
    def message(self) -> Mapping[str, Any]:
        """The message, one of EVI's publish messages; it may hold a secret."""
        return self._delivery.message

    def done(self) -> None:
        """It was carried out: the other consumers see tool answers and settings."""
        self._source._settle(self._delivery, done=True)

    def refuse(self, reason: str | None) -> None:
        """It is not carried out. Its sender is told why; `None` if the source has told everybody itself."""
        self._source._settle(self._delivery, done=False, reason=reason)


class ChatSource:
    """The source's end of a chat: it publishes messages and takes commands, by a callback or by iterating.

        source = hub.open_chat(source={"name": "custom"}, supports=["user_input"])
        source.publish({"type": "assistant_message", ...})
        async for command in source.commands():
            ...
            command.done()

    Args:
        chats: All chats of the hub.
        chat: The chat.
        clock: For the times of messages.
        on_command: Called with each command, in place; `None` keeps them for `commands`.
    """

    away = False
    max_command_bytes = MAX_FRAME_BYTES

    def __init__(
        self,
        chats: Chats,
        chat: HubChat,
        clock: Clock,
        on_command: Callable[[SourceCommand], None] | None = None,
    ) -> None:
        self._chats = chats
        self._chat = chat
        self._clock = clock
        self._on_command = on_command
        self._waiting: deque[Delivery] = deque()  # as many as may be pending
        self._news = anyio.Event()
        chat.source = self

    @property
    def chat_id(self) -> str:
        return self._chat.chat_id

    @property
    def chat(self) -> HubChat:
        """The chat itself, for those who look at it; messages are published here."""
        return self._chat

    @property
    def ended(self) -> bool:
        """Whether the chat is over; nothing can be published any more."""
        return self._chat.ending is not None

    def publish(self, message: Mapping[str, Any], at_ms: int | None = None) -> None:
        """A message of the chat, one of EVI's subscribe messages. After the end nothing happens.

        Args:
            message: Not changed.
            at_ms: When it happened, in Unix milliseconds; `None` for now.

        Raises:
            Unreadable: It has no type, or cannot be written as JSON.
        """
        self._chats.publish(self._chat, message, self._at(at_ms))

    def end(
        self, reason: str, *, status: str = "USER_ENDED", code: int = NORMAL_CLOSURE, at_ms: int | None = None
    ) -> None:
        """Ends the chat: consumers get what is left, and are closed. Only the first call counts.

        Args:
            reason: For the close frame.
            status: As the REST API states it.
            code: Of the close frame.
            at_ms: As for `publish`.
        """
        self._chats.end(self._chat, status, Close(code, reason), self._at(at_ms))
        self._tell()

    async def commands(self) -> AsyncIterator[SourceCommand]:
        """Commands as they come, until the chat is over. For one reader, where there is no `on_command`."""
        while True:
            while self._waiting:
                delivery = self._waiting.popleft()
                if delivery in self._chat.pending:  # else it came too late
                    delivery.written_on = self
                    yield SourceCommand(self, delivery)
            if self.ended:
                return
            await self._news.wait()

    def deliver(self, delivery: Delivery) -> None:
        """Takes a command from the hub; sources use `commands` or their callback."""
        if self._on_command is None:
            self._waiting.append(delivery)
            self._tell()
            return
        delivery.written_on = self
        command = SourceCommand(self, delivery)
        try:
            self._on_command(command)
        except Exception:
            _log.exception("a source failed on a command", extra=fields(chat_id=self.chat_id, type=delivery.type))
            command.refuse("it failed; see the log of the hub")

    def _settle(self, delivery: Delivery, *, done: bool, reason: str | None = None) -> None:
        if done:
            self._chat.done(delivery.id, self._at(None))
            self._chats.measure(self._chat)
        else:
            self._chat.refused(delivery.id, reason)

    def _at(self, at_ms: int | None) -> int:
        return int(self._clock.now() * 1000) if at_ms is None else at_ms

    def _tell(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()
