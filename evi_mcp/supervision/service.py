"""The running server: its settings, its chats, the service that it asks; and the desks at which callers sit."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from pydantic import SecretStr

from evi_mcp import __version__
from evi_mcp.access.callers import Caller, Rights
from evi_mcp.access.limits import CallerLimits
from evi_mcp.chat.memory import Memory
from evi_mcp.clock import Clock, SystemClock
from evi_mcp.config import Settings
from evi_mcp.errors import MissingApiKey
from evi_mcp.ledger.journal import Journal, NullJournal
from evi_mcp.ledger.memory import MemoryLedger
from evi_mcp.protocol.redaction import Mask
from evi_mcp.supervision.desk import Desk
from evi_mcp.supervision.fallback import answer_after
from evi_mcp.supervision.feed import Feed, Scope
from evi_mcp.supervision.following import Pace
from evi_mcp.supervision.house import House
from evi_mcp.supervision.registry import ChatRegistry
from evi_mcp.supervision.waiting import Waits
from evi_mcp.upstream.directory import Announces, Directory
from evi_mcp.upstream.rest import RestClient
from evi_mcp.upstream.transport import Connector, NotTaken, Transport


class _NoKey:
    """Stands where a connector would, when there is no key to connect with."""

    async def connect(self, chat_id: str) -> Transport:
        raise MissingApiKey

    async def post(self, chat_id: str, frame: str, within_s: float) -> None:
        raise NotTaken("there is no API key")

    async def explain_refusal(self, chat_id: str, status: int) -> str:
        raise MissingApiKey


class _Sockets:
    """A `WebSocketConnector` that is loaded with the first chat: it takes a twentieth of the start, and a client that
    starts the server waits for that."""

    def __init__(self, base_url: str, api_key: SecretStr, rest: RestClient | None) -> None:
        self._made_of = base_url, api_key, rest

    @cached_property
    def _sockets(self) -> Connector:
        from evi_mcp.upstream.websocket import WebSocketConnector

        return WebSocketConnector(*self._made_of)

    async def connect(self, chat_id: str) -> Transport:
        return await self._sockets.connect(chat_id)

    async def post(self, chat_id: str, frame: str, within_s: float) -> None:
        await self._sockets.post(chat_id, frame, within_s)

    async def explain_refusal(self, chat_id: str, status: int) -> str:
        return await self._sockets.explain_refusal(chat_id, status)


class Service:
    """One running server, made by `open_service`. Whoever acts sits at a desk: there is no other way to the chats.

    Args:
        settings: The operator's.
        registry: The chats that are followed.
        directory: Knows the chats of the service; `None` where there is no key to ask with.
        journal: What commands are recorded in.
        rights: The most that any caller may do; `None` for what the settings allow.
    """

    def __init__(
        self,
        settings: Settings,
        registry: ChatRegistry,
        directory: Directory | None,
        journal: Journal,
        rights: Rights | None = None,
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.journal = journal
        self.mask: Mask = registry.house.mask
        self.rights = rights or Rights(settings.access, settings.allow_list)
        """The most that any caller may do."""
        self._directory = directory
        self._limits = CallerLimits(settings.caller_chats, settings.caller_commands)

    def desk(self, caller: Caller) -> Desk:
        """All that this caller may see and do."""
        return Desk(caller, self.registry, self._directory, self.rights, self._limits)


@asynccontextmanager
async def open_service(
    settings: Settings,
    connector: Connector | None = None,
    directory: Directory | None = None,
    *,
    clock: Clock | None = None,
    pace: Pace | None = None,
    rights: Rights | None = None,
) -> AsyncIterator[Service]:
    """A running server; leaving the block lets paused chats speak again and closes every socket with 1000.

    Args:
        connector: Reaches the chats, instead of the sockets of the settings: the hub's, for one.
        directory: Knows the chats, instead of the REST API of the settings.
        clock: Instead of this machine's.
        pace: How patient it is with a service, but for `reconnect_for`, which is a setting; `None` for the usual.
        rights: As for `Service`.

    Raises:
        InvalidSetting: The audit log cannot be used.
    """
    epoch = secrets.token_hex(4)
    system_clock = SystemClock() if clock is None else None
    clock = system_clock or clock
    assert clock is not None
    async with AsyncExitStack() as stack:
        mask = settings.mask
        journal: Journal = NullJournal()
        if settings.audit_log is not None:
            from evi_mcp.audit.log import open_log

            facts = {"version": __version__, "epoch": epoch, "base_url": settings.base_url, "access": settings.access}
            journal = await stack.enter_async_context(open_log(Path(settings.audit_log), mask, clock, **facts))
        rest = None
        if directory is None and settings.hume_api_key is not None:
            rest = RestClient(settings.base_url, settings.hume_api_key, mask)
            stack.push_async_callback(rest.aclose)
        house = House(
            connector=connector or _connector(settings, rest),
            ledger=MemoryLedger(epoch),
            clock=clock,
            journal=journal,
            memory=Memory(settings.memory_mib * 2**20),
            mask=mask,
            max_events=settings.log_events,
            max_audio=settings.audio_kib * 1024,
            make_ready=rest.warm if rest is not None else lambda: None,
            tool_call_fallback=settings.tool_call_fallback,
        )
        pace = replace(pace or Pace(), reconnect_for=settings.reconnect_for)
        waits = Waits(settings.max_waits, settings.caller_waits, settings.max_wait)
        registry = await stack.enter_async_context(
            ChatRegistry(house, max_chats=settings.max_chats, pace=pace, waits=waits)
        )
        if isinstance(directory, Announces):
            stack.callback(registry.arrivals.hear(directory))
        if system_clock is not None:
            registry.start(system_clock.run)
        if settings.tool_call_fallback is not None:
            feed = Feed(Scope(registry, lambda _: True), {"tool_call"})
            registry.start(answer_after, feed, registry.find, clock, settings.tool_call_fallback)
        yield Service(settings, registry, directory or rest, journal, rights)


def _connector(settings: Settings, rest: RestClient | None) -> Connector:
    return _NoKey() if settings.hume_api_key is None else _Sockets(settings.base_url, settings.hume_api_key, rest)
