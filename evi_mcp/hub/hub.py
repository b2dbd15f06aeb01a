"""The hub as one object: a service for chats of any kind, and what an MCP server in the same process needs of it."""

import logging
import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
from starlette.routing import BaseRoute, Mount

from evi_mcp.clock import Clock, SystemClock, sleep
from evi_mcp.errors import InvalidSetting
from evi_mcp.hub.app import Addresses, Authorize, build
from evi_mcp.hub.chats import Chats, Limits
from evi_mcp.hub.closes import GOING_AWAY, Close
from evi_mcp.hub.keys import Keys, is_local
from evi_mcp.hub.links import GRACE_S, Links
from evi_mcp.hub.memory import HubConnector, HubDirectory
from evi_mcp.hub.server import serving
from evi_mcp.hub.sources import ChatSource, SourceCommand
from evi_mcp.opened import Opened
from evi_mcp.serving import listen

TICK_S = 1.0
DRAIN_TIMEOUT_S = 1.0
"""How long consumers and bots have to hear that the hub goes."""

_log = logging.getLogger(__name__)


class Hub(Opened):
    """EVI's control plane as a service for many chats, open as long as its `async with` block.

        async with Hub("127.0.0.1", 8770) as hub:
            print(hub.base_url)

    Args:
        host: Where to listen; `None` listens nowhere: it is used in memory, or `mount` is put into another app.
        port: 0 takes a free one.
        keys: Any of them opens the hub to consumers and bots, in `X-Hume-Api-Key`. Without one only this machine is
            let in.
        authorize: Who may come in, instead of whoever has a key.
        clock: The time; by default that of this machine.
        limits: How much is kept.
        grace_s: For how long a chat is kept whose bot is gone without a goodbye, in seconds.
        returning_s: For how long after the start a chat that is unknown may be one of a hub that was here before:
            whoever asks for it is told to try again.

    Raises:
        InvalidSetting: The address can be reached from other machines, and there is no key.
        CannotListen: On entering: the address is taken, or not one of this machine's.
    """

    def __init__(
        self,
        host: str | None = "127.0.0.1",
        port: int = 0,
        *,
        keys: Sequence[str] = (),
        authorize: Authorize | None = None,
        clock: Clock | None = None,
        limits: Limits | None = None,
        grace_s: float = GRACE_S,
        returning_s: float = 0.0,
    ) -> None:
        if host is not None and not keys and authorize is None and not is_local(host):
            raise InvalidSetting(f"the hub listens on {host} only with keys; set EVI_MCP_HUB_KEYS.")
        self._host, self._port = host, port
        self._keys, self._grace_s, self._returning_s = frozenset(keys), grace_s, returning_s
        self._keyless = not keys and authorize is None
        self._system_clock = SystemClock()
        self.clock: Clock = self._system_clock if clock is None else clock
        self.chats = Chats(_new_id, limits)
        self._links = Links(self.chats, secrets.token_urlsafe, grace_s=grace_s)
        self.addresses = Addresses(self.chats, self._links, self.clock, authorize or Keys(keys).accept, returning_s)
        self.routes: list[BaseRoute] = []
        """Further routes beside the hub's, for everybody; to be added before it is entered. `addresses.routes` are
        those for whoever may come in."""
        self.base_url: str | None = None
        """Where it listens; `None` while it does not."""
        self.connector = HubConnector(self.chats, self.clock)
        self.directory = HubDirectory(self.chats)

    @property
    def mount(self) -> Mount:
        """The hub's addresses, `/v0/evi/...`, for an app that serves others too."""
        return self.addresses.mount()

    def on_chats_changed(self, callback: Callable[[], None]) -> None:
        """From now on `callback` is called whenever a chat was opened or has ended."""

        def call() -> None:
            try:
                callback()
            except Exception:
                _log.exception("a listener failed")

        self.chats.listeners.append(call)

    @asynccontextmanager
    async def apart(self, keys: Sequence[str]) -> AsyncIterator[tuple[HubConnector, HubDirectory]]:
        """A hub of its own behind the same address, for whoever shows one of these keys. Nothing but the listener is
        shared: not chats, limits or what an id means.

        Raises:
            InvalidSetting: There is no key, or one of them opens this hub.
        """
        if not keys or self._keys & set(keys):
            raise InvalidSetting("a hub apart needs keys that open no other.")
        other = Hub(None, keys=keys, clock=self.clock, grace_s=self._grace_s, returning_s=self._returning_s)
        async with other:
            with self.addresses.shared_with(other.addresses):
                yield other.connector, other.directory

    def open_chat(
        self,
        *,
        source: str | Mapping[str, Any] = "custom",
        supports: Sequence[str] | None = None,
        chat_id: str | None = None,
        chat_group_id: str | None = None,
        metadata: str | Mapping[str, Any] | None = None,
        config_id: str | None = None,
        allow_connection: bool = True,
        on_command: Callable[[SourceCommand], None] | None = None,
        started_ms: int | None = None,
    ) -> ChatSource:
        """A new chat whose source is in this process.

        Args:
            source: What it comes from: a name, or an object with a `name` and versions.
            supports: The types of the commands that it takes; `None` for all of EVI's.
            chat_id, chat_group_id: `None` makes one up.
            metadata: For the REST API.
            config_id: Likewise.
            allow_connection: Whether consumers may attach.
            on_command: Called with each command; `None` keeps them for `ChatSource.commands`.
            started_ms: Unix milliseconds; `None` for now.

        Raises:
            InvalidChatId: One of the ids cannot be used.
            ChatIdTaken: There is a live chat with this id.
            TooManyChats: There is no room.
        """
        chat = self.chats.open(
            started_ms=int(self.clock.now() * 1000) if started_ms is None else started_ms,
            chat_id=chat_id,
            chat_group_id=chat_group_id,
            source=source,
            supports=None if supports is None else frozenset(supports),
            metadata=metadata,
            config_id=config_id,
            allow_connection=allow_connection,
        )
        return ChatSource(self.chats, chat, self.clock, on_command)

    async def _open(self, stack: AsyncExitStack) -> None:
        listener = None if self._host is None else listen(self._host, self._port)
        group = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(group.cancel_scope.cancel)
        group.start_soon(self._tick)
        if self.clock is self._system_clock:
            group.start_soon(self._system_clock.run)
        if listener is None:
            stack.push_async_callback(self._drain)
        else:
            app = build([*self.routes, self.mount])
            await stack.enter_async_context(serving(app, listener, before_stop=self._drain))
            host = f"[{self._host}]" if ":" in (self._host or "") else self._host
            self.base_url = f"http://{host}:{listener.getsockname()[1]}"
            if self._keyless:
                _log.warning("the hub has no keys (EVI_MCP_HUB_KEYS): any program of this machine may use it")

    async def _tick(self) -> None:
        """Ends what has waited for too long."""
        while True:
            await sleep(self.clock, TICK_S)
            now = self.clock.elapsed()
            try:
                self._links.expire(now, int(self.clock.now() * 1000))
                for chat in self.chats.live_chats:
                    if chat.pending:
                        chat.forget_late(now)
            except Exception:
                _log.exception("giving up what is late failed; it is tried again in a second")

    async def _drain(self) -> None:
        """Tells everybody that the hub goes, and waits a moment until they have heard it. No chat ends by it."""
        with anyio.move_on_after(DRAIN_TIMEOUT_S, shield=True):
            self._links.shut_down()
            for chat in self.chats:
                for consumer in tuple(chat.consumers):
                    consumer.finish(Close(GOING_AWAY, "the service is shutting down"))
            await self.addresses.drain()


def _new_id() -> str:
    return str(uuid.uuid4())
