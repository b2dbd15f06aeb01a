"""The hub reached from the same process, without a socket: the connector and the directory of a supervisor."""

import time
from collections import deque
from collections.abc import Callable
from functools import partial

import anyio
import anyio.lowlevel

from evi_mcp.clock import Clock
from evi_mcp.hub.chat import HubChat, NotBackYet, TooManyConsumers
from evi_mcp.hub.chats import Chats
from evi_mcp.hub.closes import NORMAL_CLOSURE, Close
from evi_mcp.hub.commands import CommandRefused
from evi_mcp.hub.json_frames import read
from evi_mcp.upstream.directory import ServiceChat, about
from evi_mcp.upstream.transport import Closed, NotTaken, Refused, Transport

MAX_LISTED = 1000


class HubTransport:
    """A consumer of a chat, as a `Transport`."""

    def __init__(self, chat: HubChat, clock: Clock) -> None:
        self._chat, self._clock = chat, clock
        self._frames: deque[str] = deque()
        self._news = anyio.Event()
        self._consumer = chat.attach()
        self._consumer.on_news = self._tell
        self.heard_at = time.monotonic()

    @property
    def is_open(self) -> bool:
        return self._consumer.close is None

    async def receive(self) -> str | bytes:
        while not self._frames:
            self._frames.extend(self._consumer.take())
            if not self._frames:
                if (close := self._consumer.close) is not None:
                    self._chat.detach(self._consumer)
                    raise Closed(close.code, close.reason)
                await self._news.wait()
        return self._frames.popleft()

    async def send(self, frame: str) -> None:
        if (close := self._consumer.close) is not None:
            raise Closed(close.code, close.reason)
        self._chat.receive(frame, self._consumer, self._clock.elapsed())
        await anyio.lowlevel.cancel_shielded_checkpoint()  # it has arrived: nothing can be called off any more

    async def close(self) -> None:
        self.abort()
        await anyio.lowlevel.checkpoint()

    def abort(self) -> None:
        """Ends it at once, without waiting."""
        self._chat.detach(self._consumer)
        self._consumer.cut(Close(NORMAL_CLOSURE, ""))

    def _tell(self) -> None:
        self.heard_at = time.monotonic()
        news, self._news = self._news, anyio.Event()
        news.set()


class HubConnector:
    """Attaches to chats of the hub, as a `Connector`."""

    def __init__(self, chats: Chats, clock: Clock) -> None:
        self._chats, self._clock = chats, clock

    async def connect(self, chat_id: str) -> Transport:
        await anyio.lowlevel.checkpoint()
        chat = self._chats.live(chat_id)
        if chat is None:
            raise Refused(404)
        if not chat.facts.allow_connection:
            raise Refused(403)
        try:
            return HubTransport(chat, self._clock)
        except TooManyConsumers:
            raise Refused(429) from None
        except NotBackYet:
            raise Refused(503) from None

    async def post(self, chat_id: str, frame: str, within_s: float) -> None:
        await anyio.lowlevel.checkpoint()
        chat = self._chats.live(chat_id)
        if chat is None:
            raise NotTaken("the hub has no live chat with this id", gone=True)
        try:
            chat.command(read(frame), None, self._clock.elapsed())
        except CommandRefused as refusal:
            raise NotTaken(refusal.why) from None

    async def explain_refusal(self, chat_id: str, status: int) -> str:
        await anyio.lowlevel.checkpoint()
        if status == 403:
            return "the chat was opened without allow_connection=true, which only its bot can set"
        if status == 429:
            return "the chat has as many connections as it takes"
        if status == 503:
            return "its bot has just come back and is still telling what was said before"
        chat = self._chats.get(chat_id)
        if chat is not None:
            return f"the chat is over ({chat.status}); only a live chat can be attached to"
        return "no bot has dialled in with this chat id; take one from list_chats with scope='active'"


class HubDirectory:
    """The chats of the hub, as a `Directory`."""

    more_commands = frozenset({"end_chat", "transfer_chat", "recap"})

    def __init__(self, chats: Chats) -> None:
        self._chats = chats

    def check_route(self) -> None:
        """There is always a way: the hub is here."""

    async def chat_status(self, chat_id: str) -> str | None:
        """The status of a chat, such as `ACTIVE` or `USER_ENDED`; `None` if there is no such chat."""
        await anyio.lowlevel.checkpoint()
        chat = self._chats.get(chat_id)
        return None if chat is None else chat.status

    async def active_chats(self) -> tuple[list[ServiceChat], bool]:
        """The live chats, newest first, and whether there are more than are listed."""
        await anyio.lowlevel.checkpoint()
        found = [_listed(chat) for chat in self._chats.live_chats]
        found.sort(key=lambda chat: -(chat.started_ms or 0))
        return found[:MAX_LISTED], len(found) > MAX_LISTED

    def announce(self, to: Callable[[ServiceChat], None]) -> Callable[[], None]:
        """Calls `to` with each live chat that can be attached to, and from now on with each that begins. Undone by what
        is returned."""

        def opened(chat: HubChat) -> None:
            if chat.facts.allow_connection:
                to(_listed(chat))

        for chat in sorted(self._chats.live_chats, key=lambda chat: chat.started_ms):
            opened(chat)
        self._chats.opened.append(opened)
        return partial(self._chats.opened.remove, opened)

    def is_live(self, chat_id: str) -> bool:
        """Whether the chat has not ended."""
        return self._chats.live(chat_id) is not None


def _listed(chat: HubChat) -> ServiceChat:
    return ServiceChat(
        chat.chat_id,
        chat.facts.chat_group_id,
        chat.status,
        chat.started_ms,
        chat.facts.config_id,
        about(chat.facts.metadata),
        chat.facts.source_name,
    )
