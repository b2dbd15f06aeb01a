"""`chat_id` to live chat: one connection for each, limits, and an orderly end."""

import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.abc import TaskGroup

from evi_mcp.access.callers import DETACHING, SHUTDOWN, Caller
from evi_mcp.chat.events import CHAT_STATE, Event
from evi_mcp.clock import timeout
from evi_mcp.errors import AttachRefused, ChatNotAttached, TooManyChats
from evi_mcp.logs import fields
from evi_mcp.protocol.chat_id import check_chat_id
from evi_mcp.protocol.lifecycle import State
from evi_mcp.supervision.arrivals import Arrivals
from evi_mcp.supervision.auto_resume import AutoResume
from evi_mcp.supervision.following import Pace, follow
from evi_mcp.supervision.house import House
from evi_mcp.supervision.listeners import Listeners
from evi_mcp.supervision.live_chat import Attach, LiveChat
from evi_mcp.supervision.waiting import Waits
from evi_mcp.upstream.transport import Refused, Transport, Unreachable

ATTACH_PATIENCE_S = 10.0
"""How long an attach waits for a history that goes on, or a service that refuses for now."""
MAX_HANDSHAKES = 100
"""Handshakes under way at once, so that a thousand chats that dropped together do not storm the service."""
STOP_S = 1.5
"""How long an end takes at most: the process has 1.9 s in all, of which its client has some."""
RESUME_S = 1.1
"""How much of that paused chats may take to be told to go on. What is left is for sockets to be closed."""

_log = logging.getLogger(__name__)


class ChatRegistry:
    """All chats that this process follows. Enter it before use; leaving it closes every socket with 1000.

    Args:
        house: What all chats share.
        max_chats: The most that may be attached at once, chats that are over included.
        pace: Time limits of following a chat.
        waits: The calls that wait for its chats.
    """

    def __init__(
        self, house: House, *, max_chats: int = 1000, pace: Pace | None = None, waits: Waits | None = None
    ) -> None:
        self.house = house
        self._max_chats = max_chats
        self._pace = pace or Pace()
        self._chats: dict[str, LiveChat] = {}
        self._detached: dict[str, int] = {}  # the number of the last event when they were, to say so to old cursors
        self._tasks: dict[LiveChat, _Task] = {}
        self.listeners = Listeners()
        """They get every event of every chat, also of those attached later."""
        self.waits = waits or Waits()
        self.arrivals = Arrivals(house.ledger.reserve)
        """Chats of the service that have begun, attached or not."""
        self._on_chats_changed: list[Callable[[], None]] = []
        self._group: TaskGroup | None = None
        self._ending = False
        self._auto_resume = AutoResume(house.clock, self._pace.delays, house.make_ready)

    def __repr__(self) -> str:
        return f"<ChatRegistry {self.chats()}>"

    async def __aenter__(self) -> Self:
        self._handshakes = anyio.CapacityLimiter(MAX_HANDSHAKES)
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self.start(self._auto_resume.run)
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
            ChatNotAttached: It is not attached; the error names none that are.
        """
        chat = self._chats.get(check_chat_id(chat_id))
        if chat is None:
            raise ChatNotAttached(chat_id, ())
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

        Returns when its history has arrived, by the best evidence there is, after 10 s at most: it may still be
        connecting then, or catching up. A chat that was over is tried once more, since it may have been resumed.

        Raises:
            InvalidChatId: This cannot be an id.
            TooManyChats: The limit is reached.
            AttachRefused: It will never succeed; nothing is left behind.
        """
        chat = self.follow(chat_id)
        if chat.over:
            await self._reopen(chat)
        with timeout(self.house.clock, ATTACH_PATIENCE_S):
            while not chat.over and (chat.state is State.CONNECTING or chat.record.catching_up):
                await chat.changed()
        if chat.came_to_nothing:
            raise AttachRefused(chat_id, chat.record.reason or "it failed")
        chat.attach = Attach.KNOWN if chat.attach is Attach.TRIED else chat.attach
        return chat

    def follow(self, chat_id: str) -> LiveChat:
        """The chat, made and started if it is new. Plain code: two agents cannot both make it. Raises as `attach`, but
        `AttachRefused` only at the end of the process."""
        chat = self._chats.get(check_chat_id(chat_id))
        if chat is not None and chat.never_was:
            self._drop(chat)  # there is nothing in it to read: who asks again wants a new attempt
            chat.leave()
            chat = None
        if chat is None:
            if self._ending:
                raise AttachRefused(chat_id, "this server is ending")
            if len(self._chats) >= self._max_chats:
                raise TooManyChats(len(self._chats), sum(chat.over for chat in self._chats.values()))
            chat = self._chats[chat_id] = LiveChat(chat_id, self.house, self._auto_resume.watch)
            if known := self._detached.get(chat_id):
                chat.record.forgotten_to = known
            chat.listeners.add(partial(self._hear, chat))
            self._auto_resume.hand_over(chat)
            self._chats_changed()
            task = self._tasks[chat] = _Task()
            self.start(self._run, chat, task)
        return chat

    async def _reopen(self, chat: LiveChat) -> None:
        """Tries once whether a chat that was over can be followed again. If not, it stays as it is."""
        if last := self._tasks.get(chat):
            await last.done.wait()  # it is about to close its socket
        transport = None
        try:
            with timeout(self.house.clock, ATTACH_PATIENCE_S):
                async with self._handshakes:
                    transport = await self.house.connector.connect(chat.chat_id)
        except (Refused, Unreachable):
            pass
        if transport is None:
            return
        if not chat.over or chat in self._tasks or self._chats.get(chat.chat_id) is not chat:
            await transport.close()  # somebody else was faster
            return
        chat.change(chat.reader.lifecycle.reopened())
        task = self._tasks[chat] = _Task()
        self.start(self._run, chat, task, transport)

    def _hear(self, chat: LiveChat, event: Event) -> None:
        """Passes an event on. Of an attempt that may come to nothing, only what shows that it came to something."""
        news = event.type == CHAT_STATE
        if news and chat.state in (State.LIVE, State.ENDED) and chat.attach is Attach.TRIED:
            chat.attach = Attach.KNOWN
        if chat.attach is not Attach.TRIED if news else self._chats.get(chat.chat_id) is chat:
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
        chat.detach()
        self._drop(chat)
        self._detached[chat_id] = self.house.ledger.cursors.last_seq
        if len(self._detached) > self._max_chats:
            del self._detached[next(iter(self._detached))]
        with anyio.CancelScope(shield=True):
            await self._stop([chat], DETACHING)
        return chat

    async def stop(self) -> None:
        """Lets every paused chat speak again and closes every socket with 1000, in less than 2 s whatever the other
        side does. Nothing is attached any more."""
        self._ending = True
        chats = list(self._chats.values())
        self._chats.clear()
        for chat in chats:
            chat.detach()
        await self._stop(chats, SHUTDOWN)

    async def _stop(self, chats: Sequence[LiveChat], by: Caller) -> None:
        # Nobody would be left to keep the promise that a pause ends by itself.
        with anyio.move_on_after(STOP_S):
            await self._auto_resume.deliver_now(chats, by, RESUME_S)
            async with anyio.create_task_group() as group:
                for chat in chats:
                    if task := self._tasks.get(chat):
                        task.scope.cancel()
                        group.start_soon(task.done.wait)
        for chat in chats:
            if not chat.record.pause.promised:  # else it is still tried, for as long as the process lives
                chat.leave()

    async def _run(self, chat: LiveChat, task: "_Task", first: Transport | None = None) -> None:
        """The task of one chat. Whatever happens in it stays in it."""
        try:
            with task.scope:
                await follow(chat, self.house.connector, self._pace, self._handshakes, self.house.clock, first)
        except Exception:
            _log.exception("following failed", extra=fields(chat_id=chat.chat_id))
            chat.change(chat.reader.lifecycle.broke("this server failed while following the chat; see its log"))
        finally:
            if chat.came_to_nothing:
                self._drop(chat)  # an attempt that can never succeed leaves nothing behind
                chat.leave()
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
