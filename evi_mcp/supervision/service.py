"""What tools and resources work on: the settings, the registry, the REST client, and who may touch which chat."""

import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from evi_mcp import __version__
from evi_mcp.audit.log import AuditLog, open_log
from evi_mcp.config import Settings
from evi_mcp.errors import ChatNotAllowed, InvalidChatId, MissingApiKey
from evi_mcp.protocol.chat_id import check_chat_id
from evi_mcp.protocol.redaction import Mask
from evi_mcp.supervision.actions.answering import answer_after
from evi_mcp.supervision.following import Pace
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.supervision.registry import ChatRegistry
from evi_mcp.upstream.rest import RestClient, ServiceChat
from evi_mcp.upstream.transport import Connector, Transport


class _NoKey:
    """Stands where a connector would, when there is no key to connect with."""

    async def connect(self, chat_id: str) -> Transport:
        raise MissingApiKey

    async def explain_refusal(self, chat_id: str, status: int) -> str:
        raise MissingApiKey


class App:
    """One running server. Chats are reached through here only, so that the allow-list holds everywhere."""

    def __init__(
        self,
        settings: Settings,
        registry: ChatRegistry,
        rest: RestClient | None,
        audit: AuditLog | None = None,
        mask: Mask | None = None,
    ) -> None:
        self.settings = settings
        self.mask = mask or Mask()
        self.registry = registry
        self.audit = audit
        self._rest = rest
        self._allowed = settings.allow_list

    def chat(self, chat_id: str) -> LiveChat:
        """An attached chat.

        Raises:
            InvalidChatId, ChatNotAllowed, ChatNotAttached: It cannot be had, for the reason that the name says.
        """
        return self.registry.get(self._permit(chat_id))

    def chats(self, chat_ids: Iterable[str] | None = None) -> list[LiveChat]:
        """The attached chats of these ids, each once; all of them for `None`. Raises as `chat`."""
        if chat_ids is None:
            return self.registry.chats()
        return [self.chat(chat_id) for chat_id in dict.fromkeys(chat_ids)]

    async def attach(self, chat_id: str) -> LiveChat:
        """Attaches to a chat, as `ChatRegistry.attach`.

        Raises:
            MissingApiKey: There is no key to connect with.
            ServiceUnavailable: The environment leaves no way to the service.
            InvalidChatId, ChatNotAllowed, TooManyChats, AttachRefused: As their names say.
        """
        self._permit(chat_id)
        if self._rest is None:
            raise MissingApiKey
        self._rest.check_route()
        return await self.registry.attach(chat_id)

    async def detach(self, chat_id: str) -> LiveChat:
        """Detaches from a chat, for all agents. Raises as `chat`."""
        return await self.registry.detach(self._permit(chat_id))

    async def active_chats(self) -> tuple[list[ServiceChat], int, bool]:
        """The chats that the service calls active and that may be touched, how many more may not, and whether there
        are more of either.

        Raises:
            MissingApiKey, ServiceUnavailable: The service cannot be asked.
        """
        if self._rest is None:
            raise MissingApiKey
        found, more = await self._rest.active_chats()
        allowed = [chat for chat in found if self._allowed is None or chat.chat_id in self._allowed]
        return allowed, len(found) - len(allowed), more

    def _permit(self, chat_id: str) -> str:
        check_chat_id(chat_id)
        if (shown := self.mask(chat_id)) != chat_id:
            raise InvalidChatId(shown)  # it would go into addresses, and from there into the logs of others
        if self._allowed is not None and chat_id not in self._allowed:
            raise ChatNotAllowed(chat_id)
        return chat_id


@asynccontextmanager
async def open_app(settings: Settings, connector: Connector | None = None) -> AsyncIterator[App]:
    """A running app; leaving the block closes every socket with 1000.

    Args:
        connector: Instead of the real one, for tests and embedding.

    Raises:
        InvalidSetting: The audit log cannot be used.
    """
    mask = settings.mask
    epoch = secrets.token_hex(4)
    async with AsyncExitStack() as stack:
        audit: AuditLog | None = None
        if settings.audit_log is not None:
            facts = {"version": __version__, "epoch": epoch, "base_url": settings.base_url, "access": settings.access}
            audit = await stack.enter_async_context(open_log(Path(settings.audit_log), mask, **facts))
        rest = RestClient(settings.base_url, settings.hume_api_key, mask) if settings.hume_api_key else None
        if rest is not None:
            stack.push_async_callback(rest.aclose)
        registry = ChatRegistry(
            connector or _connector(settings, rest),
            max_chats=settings.max_chats,
            max_events=settings.log_events,
            max_audio=settings.audio_kib * 1024,
            pace=Pace(reconnect_for=settings.reconnect_for),
            mask=mask,
            audit=audit,
            epoch=epoch,
        )
        await stack.enter_async_context(registry)
        if settings.tool_call_fallback is not None:
            registry.listeners.add(answer_after(registry, settings.tool_call_fallback))
        yield App(settings, registry, rest, audit, mask)


def _connector(settings: Settings, rest: RestClient | None) -> Connector:
    if settings.hume_api_key is None:
        return _NoKey()
    from evi_mcp.upstream.websocket import WebSocketConnector

    return WebSocketConnector(settings.base_url, settings.hume_api_key, rest)
