"""Tenants: each has a service of its own, and with it keys, secrets, chats, numbers, limits and an audit log.

Nothing is shared but the process, so nothing has to be kept apart later.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import TaskGroup, TaskStatus
from pydantic import SecretStr, ValidationError

from evi_mcp import logs
from evi_mcp.access.callers import Access, Rights
from evi_mcp.access.principals import Principal
from evi_mcp.access.tokens import TenantEntry
from evi_mcp.clock import Clock
from evi_mcp.config import Settings
from evi_mcp.errors import InvalidSetting
from evi_mcp.quoting import quote
from evi_mcp.server.http.authentication import owner_of
from evi_mcp.server.sdk import Sessions
from evi_mcp.server.server import EviServer
from evi_mcp.supervision.following import Pace
from evi_mcp.supervision.service import Service, open_service
from evi_mcp.upstream.directory import Directory
from evi_mcp.upstream.transport import Connector

DEFAULT = ""
"""The name of the tenant that the settings of the server describe."""
MAX_SESSIONS = 10_000
ANSWERS_S = 0.1
"""What waits have to answer, before the chats are left."""

Apart = Callable[[Sequence[str]], AbstractAsyncContextManager[tuple[Connector, Directory]]]
"""Opens the part of the server's hub that belongs to whoever shows one of these keys."""

_log = logging.getLogger(__name__)


class Tenant:
    """A tenant that is served. `entry` is what the tokens file says of it; `None` for `DEFAULT`."""

    def __init__(self, name: str, entry: TenantEntry | None, service: Service, server: EviServer) -> None:
        self.name = name
        self.entry = entry
        self.service = service
        self._server = server
        self.sessions = Sessions(self._server, MAX_SESSIONS)
        self.closing = anyio.Event()

    async def end_of(self, principal: Principal) -> None:
        """Ends what the holder of a token, which is good no more, has left behind: waits and handshake sessions."""
        self.service.registry.waits.refuse(principal.key)
        await self.sessions.end_of(owner_of(principal))

    async def leave(self) -> None:
        """Ends what waits, then lets paused chats speak again and closes every socket."""
        self.service.registry.waits.close()
        self._server.close_listening()
        with anyio.move_on_after(ANSWERS_S):
            await self.service.registry.waits.empty()
        await self.service.registry.stop()


class Tenants:
    """All tenants; made by `open_tenants`, whose arguments these are."""

    def __init__(
        self,
        settings: Settings,
        listed: Callable[[], Mapping[str, TenantEntry]],
        group: TaskGroup,
        *,
        chats_of_default: tuple[Connector | None, Directory | None],
        apart: Apart | None,
        clock: Clock | None,
        pace: Pace | None,
        on_secrets: Callable[[Callable[[str], str]], None],
    ) -> None:
        self._settings = settings
        self._listed = listed
        self._group = group
        self._chats_of_default = chats_of_default
        self._apart = apart
        self._clock, self._pace = clock, pace
        self._on_secrets = on_secrets
        self._tenants: dict[str, Tenant] = {}

    def __iter__(self) -> Iterator[Tenant]:
        return iter(list(self._tenants.values()))

    def find(self, name: str) -> Tenant | None:
        """The tenant of this name; `None` where there is none."""
        return self._tenants.get(name)

    async def follow_file(self) -> None:
        """Makes the tenants what the tokens file says now: starts new ones, ends those that are gone or have changed.

        Raises:
            EviMcpError: One cannot be started.
        """
        wanted: dict[str, TenantEntry | None] = {DEFAULT: None, **self._listed()}
        changed = [tenant for tenant in self if tenant.name not in wanted or tenant.entry != wanted[tenant.name]]
        if not changed and len(wanted) == len(self._tenants):
            return
        of = {name: tenant_settings(self._settings, name, entry) for name, entry in wanted.items()}
        for name, entry in wanted.items():
            if entry is not None and entry.hub_keys and self._apart is None:
                raise InvalidSetting(f"EVI_MCP_TOKENS: tenant {quote(name)} has hub_keys, and there is no hub: --hub.")
        self._on_secrets(_without_secrets(of.values()))
        for tenant in changed:
            _log.info("a tenant has changed or is gone", extra=logs.fields(tenant=tenant.name))
            del self._tenants[tenant.name]
            await tenant.leave()
            tenant.closing.set()
        for name in wanted.keys() - self._tenants.keys():
            self._tenants[name] = await self._group.start(self._serve, name, wanted[name], of[name])

    async def leave(self) -> None:
        """As `Tenant.leave`, of all at once; one that fails holds up no other."""

        async def leave(tenant: Tenant) -> None:
            try:
                await tenant.leave()
            except Exception:
                _log.exception("a tenant could not be left", extra=logs.fields(tenant=tenant.name))

        async with anyio.create_task_group() as group:
            for tenant in self:
                group.start_soon(leave, tenant)

    def close(self) -> None:
        """Ends them."""
        for tenant in self:
            tenant.closing.set()

    async def _serve(
        self, name: str, entry: TenantEntry | None, settings: Settings, *, task_status: TaskStatus[Tenant]
    ) -> None:
        rights = tenant_rights(self._settings, entry)
        reached = self._chats_of_default if name == DEFAULT else (None, None)
        async with AsyncExitStack() as stack:
            if entry is not None and entry.hub_keys and self._apart is not None:
                keys = [key.get_secret_value() for key in entry.hub_keys]
                reached = await stack.enter_async_context(self._apart(keys))
            opening = open_service(settings, *reached, clock=self._clock, pace=self._pace, rights=rights)
            service = await stack.enter_async_context(opening)
            tenant = Tenant(name, entry, service, EviServer(service, over_http=True))
            async with tenant.sessions.run():
                task_status.started(tenant)
                await tenant.closing.wait()


@asynccontextmanager
async def open_tenants(
    settings: Settings,
    listed: Callable[[], Mapping[str, TenantEntry]],
    *,
    connector: Connector | None = None,
    directory: Directory | None = None,
    apart: Apart | None = None,
    clock: Clock | None = None,
    pace: Pace | None = None,
    on_secrets: Callable[[Callable[[str], str]], None] = lambda _: None,
) -> AsyncIterator[Tenants]:
    """All tenants, until the block is left.

    Args:
        settings: Of the server, and so of the tenant `DEFAULT`.
        listed: The others, as they are in the tokens file now.
        connector, directory: As for `open_service`, of the tenant `DEFAULT`.
        apart: For tenants with `hub_keys`; `None` where there is no hub.
        clock, pace: As for `open_service`.
        on_secrets: Told, before they are used, of what takes the secrets of all of them out of a text.

    Raises:
        EviMcpError: One cannot be started.
    """
    async with anyio.create_task_group() as group:
        tenants = Tenants(
            settings,
            listed,
            group,
            chats_of_default=(connector, directory),
            apart=apart,
            clock=clock,
            pace=pace,
            on_secrets=on_secrets,
        )
        try:
            await tenants.follow_file()
            yield tenants
        finally:
            tenants.close()


def tenant_rights(settings: Settings, entry: TenantEntry | None) -> Rights:
    """The most that anybody of a tenant may do: never more than the server allows."""
    if entry is None:
        return Rights(settings.access, settings.allow_list)
    access = min(settings.access, entry.access, key=list(Access).index)
    lists = [chats for chats in (settings.allow_list, entry.chats) if chats is not None]
    return Rights(access, frozenset.intersection(*lists) if lists else None)


def tenant_settings(settings: Settings, name: str, entry: TenantEntry | None) -> Settings:
    """The settings of a tenant: those of the server, but for what is its own. It has no key and no secret of anybody
    else; its audit log stands beside the server's."""
    if entry is None:
        return settings
    inherited = {field: value for field, value in settings.model_dump().items() if not isinstance(value, SecretStr)}
    own: dict[str, object] = {
        **dict.fromkeys(Settings.model_fields.keys() - inherited.keys()),  # whatever key the server has
        "hume_api_key": entry.hume_api_key,
        "hub_keys": ",".join(key.get_secret_value() for key in entry.hub_keys) or None,
        "secrets": entry.secrets,
        "access": tenant_rights(settings, entry).access,
        "audit_log": entry.audit_log or _beside(settings.audit_log, name),
    }
    if entry.base_url is not None:
        own["base_url"] = entry.base_url
    if entry.max_chats is not None:
        own["max_chats"] = entry.max_chats
    try:
        return Settings(**(inherited | own))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        said = first["msg"].removeprefix("Value error, ")
        raise InvalidSetting(
            f"EVI_MCP_TOKENS: tenant {quote(name)}: {'.'.join(map(str, first['loc']))} {said}."
        ) from None


def _beside(audit_log: str | None, name: str) -> str | None:
    if audit_log is None:
        return None
    path = Path(audit_log)
    return str(path.with_name(f"{path.stem}.{name}{path.suffix}"))


def _without_secrets(every: Iterable[Settings]) -> Callable[[str], str]:
    masks = [settings.mask for settings in every]

    def mask(text: str) -> str:
        for each in masks:
            text = each(text)
        return text

    return mask
