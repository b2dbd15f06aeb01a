"""`chat_id` to live chat: one connection for each, limits, and an orderly end."""

import logging
import math
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.abc import TaskGroup

from evi_mcp.audit.log import AuditLog
from evi_mcp.chat.events import CHAT_STATE, Event
from evi_mcp.clock import Clock, SystemClock
from evi_mcp.errors import AttachRefused, ChatNotAttached, TooManyChats
from evi_mcp.ledger.log import Cursors
from evi_mcp.logs import fields
from evi_mcp.protocol.chat_id import check_chat_id
from evi_mcp.protocol.commands import ResumeAssistantMessage
from evi_mcp.protocol.lifecycle import State
from evi_mcp.protocol.redaction import Mask
from evi_mcp.supervision.following import Pace, follow
from evi_mcp.supervision.listeners import Listeners
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.upstream.transport import Connector

ATTACH_PATIENCE_S = 10.0
"""How long an attach waits for a service that refuses for now."""
MAX_HANDSHAKES = 100
"""Handshakes under way at once, so that a thousand chats that dropped together do not storm the service."""
STOP_TIMEOUT_S = 1.8

_log = logging.getLogger(__name__)


class ChatRegistry:
    """All chats that this process follows. Enter it before use; leaving it closes every socket with 1000.

    Args:
        connector: Opens the sockets.
        max_chats: The most that may be attached at once, chats that are over included.
        max_events: The most events kept for each chat.
        max_audio: The most characters of audio kept for each chat; 0 keeps none.
        pace: Time limits of following a chat.
        mask: Takes secrets out of whatever is kept.
        audit: Where commands are recorded before they are sent; `None` records none.
        epoch: Names this run of the process in cursors; `None` makes one up.
        clock: What following reckons by; `None` is the machine's.
    """

    def __init__(
        self,
        connector: Connector,
        *,
        max_chats: int = 1000,
        max_events: int = 10_000,
        max_audio: int = 0,
        pace: Pace | None = None,
        mask: Mask | None = None,
        audit: AuditLog | None = None,
        epoch: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self.cursors = Cursors(epoch or secrets.token_hex(4))
        self._connector = connector
        self._max_chats, self._max_events, self._max_audio = max_chats, max_events, max_audio
        self._pace = pace or Pace()
        self._mask = mask
        self._audit = audit
        self._chats: dict[str, LiveChat] = {}
        self._detached: dict[str, int] = {}  # the number of the last event when they were, to say so to old cursors
        self._tasks: dict[LiveChat, _Task] = {}
        self.listeners = Listeners()
        """They get every event of every chat, also of those attached later."""
        self._on_chats_changed: list[Callable[[], None]] = []
        self._group: TaskGroup | None = None

    def __repr__(self) -> str:
        return f"<ChatRegistry {self.chats()}>"

    async def __aenter__(self) -> Self:
        self._handshakes = anyio.CapacityLimiter(MAX_HANDSHAKES)
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool | None:
        assert self._group is not None
        with anyio.CancelScope(shield=True):
            await self.stop()
        self._group.cancel_scope.cancel()
        return await self._group.__aexit__(exc_type, exc, tb)

    # Looking

    def get(self, chat_id: str) -> LiveChat:
        """The attached chat of this id.

        Raises:
            InvalidChatId: This cannot be one.
            ChatNotAttached: It is not attached.
        """
        chat = self._chats.get(check_chat_id(chat_id))
        if chat is None:
            raise ChatNotAttached(chat_id, self._chats)
        return chat

    def find(self, chat_id: str) -> LiveChat | None:
        """The attached chat of this id, or `None`."""
        return self._chats.get(chat_id)

    def chats(self) -> list[LiveChat]:
        """All attached chats, in the order in which they were attached, those that are being tried included."""
        return list(self._chats.values())

    def on_chats_changed(self, callback: Callable[[], None]) -> None:
        """From now on `callback` is called whenever a chat was attached or detached."""
        self._on_chats_changed.append(callback)

    def _chats_changed(self) -> None:
        for callback in self._on_chats_changed:
            callback()

    # Attaching and detaching

    async def attach(self, chat_id: str) -> LiveChat:
        """Follows a chat from now on; for a chat that is followed already, the same one.

        Returns when its history has arrived, or after 10 s of a service that refuses for now.

        Raises:
            InvalidChatId: This cannot be an id.
            TooManyChats: The limit is reached.
            AttachRefused: It will never succeed; nothing is left behind.
        """
        chat = self._claim(check_chat_id(chat_id))
        patience_ends = time.monotonic() + ATTACH_PATIENCE_S
        while chat.state is State.CONNECTING:
            # A connection that stands is in its replay, which has limits of its own.
            left = math.inf if chat.is_connected else patience_ends - time.monotonic()
            if left <= 0:
                break
            with anyio.move_on_after(left):
                await chat.changed()
        if chat.came_to_nothing:
            raise AttachRefused(chat_id, chat.record.lifecycle.reason or "it failed")
        chat.proven = True
        return chat

    def _claim(self, chat_id: str) -> LiveChat:
        """The chat, made and started if it is new. Plain code: two agents cannot both make it."""
        chat = self._chats.get(chat_id)
        if chat is not None and chat.never_was:
            self._drop(chat)  # there is nothing in it to read: who asks again wants a new attempt
            chat.listeners.clear()
            chat = None
        if chat is None:
            if len(self._chats) >= self._max_chats:
                raise TooManyChats(len(self._chats), sum(chat.over for chat in self._chats.values()))
            assert self._group is not None, "enter the registry first"
            chat = LiveChat(
                chat_id,
                self.cursors,
                max_events=self._max_events,
                max_audio=self._max_audio,
                mask=self._mask,
                audit=self._audit,
            )
            chat.record.log.dropped_seq = self._detached.get(chat_id, 0)
            chat.listeners.add(partial(self._hear, chat))
            self._chats[chat_id] = chat
            self._chats_changed()
            task = self._tasks[chat] = _Task()
            self._group.start_soon(self._run, chat, task, name=f"chat {chat_id}")
        return chat

    def _hear(self, chat: LiveChat, event: Event) -> None:
        """Passes an event on. Of an attempt that may come to nothing, only what shows that it came to something."""
        news = event.type == CHAT_STATE
        if news and chat.state in (State.LIVE, State.ENDED):
            chat.proven = True
        if chat.proven if news else self._chats.get(chat.chat_id) is chat:
            self.listeners.tell(event)

    def _drop(self, chat: LiveChat) -> None:
        if self._chats.get(chat.chat_id) is chat:
            del self._chats[chat.chat_id]
            self._chats_changed()

    async def detach(self, chat_id: str) -> LiveChat:
        """Stops following a chat, for all agents; the chat itself goes on.

        Raises:
            InvalidChatId, ChatNotAttached: As `get`.
        """
        chat = self.get(chat_id)
        self._drop(chat)
        self._detached[chat_id] = self.cursors.last_seq
        if len(self._detached) > self._max_chats:
            del self._detached[next(iter(self._detached))]
        with anyio.CancelScope(shield=True):
            await self._stop([chat])
        chat.listeners.clear()  # one of them is ours, and holds the chat: with it, its log would wait for the GC
        return chat

    async def stop(self) -> None:
        """Closes every socket with 1000, in less than 2 s whatever the other side does."""
        chats = list(self._chats.values())
        self._chats.clear()
        await self._stop(chats)

    async def _stop(self, chats: Sequence[LiveChat]) -> None:
        for chat in chats:
            chat.change(chat.record.lifecycle.detached())

        async def stop(chat: LiveChat) -> None:
            if chat.dead_man is not None:
                # Nobody would be left to keep the promise that the pause ends by itself.
                chat.call_off_dead_man()
                if await chat.write_parting(ResumeAssistantMessage(), by="this server, on detaching"):
                    chat.record.paused = False
            if task := self._tasks.get(chat):
                task.scope.cancel()
                await task.done.wait()

        with anyio.move_on_after(STOP_TIMEOUT_S):
            async with anyio.create_task_group() as group:
                for chat in chats:
                    group.start_soon(stop, chat)

    async def _run(self, chat: LiveChat, task: "_Task") -> None:
        """The task of one chat. Whatever happens in it stays in it."""
        try:
            with task.scope:
                await follow(chat, self._connector, self._pace, self._handshakes, self._clock)
        except Exception:
            _log.exception("following failed", extra=fields(chat_id=chat.chat_id))
            chat.change(chat.record.lifecycle.broke("this server failed while following the chat; see its log"))
        finally:
            if chat.came_to_nothing:
                self._drop(chat)  # an attempt that can never succeed leaves nothing behind
                chat.listeners.clear()  # as in `detach`
            self._tasks.pop(chat, None)
            task.done.set()

    def start(self, work: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Runs something beside the chats, for as long as the registry is open. If it fails, it does so alone."""

        async def run() -> None:
            try:
                await work(*args)
            except Exception:
                _log.exception("%s failed", work.__qualname__)

        assert self._group is not None, "enter the registry first"
        self._group.start_soon(run)


class _Task:
    """The running side of a chat."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.done = anyio.Event()
