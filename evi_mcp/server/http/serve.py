"""`serve --http`: from the settings to a server that ends in time, with every paused chat resumed.

How it ends: `/readyz` says so for `EVI_MCP_DRAIN_S`; then waits return with their cursors and streams are closed, the
chats are left (paused ones resumed, sockets closed with 1000), and what still runs is cut.
"""

import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio

from evi_mcp import logs
from evi_mcp.access.issuer import Issuer
from evi_mcp.access.oauth import OAuthTokens
from evi_mcp.access.tokens import TokenFile
from evi_mcp.addresses import host_and_port, is_this_machine
from evi_mcp.clock import Clock, SystemClock
from evi_mcp.config import Settings
from evi_mcp.ending import Ending
from evi_mcp.errors import EviMcpError, InvalidSetting
from evi_mcp.server.http.app import PATH, STATIC_PATH, Door, Web, resource_url
from evi_mcp.server.http.asking import Asking
from evi_mcp.server.http.challenge import Challenge
from evi_mcp.server.http.guard import allowed
from evi_mcp.server.http.listening import server
from evi_mcp.server.http.tenants import Apart, open_tenants
from evi_mcp.serving import Server, listen
from evi_mcp.supervision.following import Pace
from evi_mcp.upstream.directory import Directory
from evi_mcp.upstream.transport import Connector

LOOK_S = 1.0
"""How often the tokens in use are looked at."""
LAST_ANSWERS_S = 0.05
"""What answers take to be written once the chats are left."""

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_web(
    settings: Settings,
    bound: str,
    connector: Connector | None = None,
    directory: Directory | None = None,
    *,
    apart: Apart | None = None,
    pace: Pace | None = None,
) -> AsyncIterator[Web]:
    """The application, with its tenants.

    Args:
        bound: Host and port that it listens on.
        connector, directory, pace: As for `open_service`.
        apart: As for `open_tenants`.

    Raises:
        InvalidSetting: It would be open to everybody, or a setting cannot be used.
    """
    is_local = check(settings, bound)
    host, _ = host_and_port(bound)
    file = TokenFile(Path(settings.tokens)) if settings.tokens is not None else None
    has_authentication = file is not None or settings.oauth_issuer is not None
    clock = SystemClock()
    asking = Asking(clock)
    may = allowed(
        host,
        settings.public_url,
        settings.allowed_origins,
        is_local=is_local,
        has_authentication=has_authentication,
    )
    try:
        async with open_tenants(
            settings,
            lambda: file.table.tenant if file is not None else {},
            connector=connector,
            directory=directory,
            apart=apart,
            pace=pace,
            on_secrets=lambda mask: _configure_logs(settings, mask),
        ) as tenants:
            web = Web(
                tenants,
                _doors(settings, bound, file, asking, clock),
                may,
                most=settings.max_waits,
                allow_plain_http=settings.allow_plain_http,
            )
            yield web
    finally:
        await asking.aclose()


def check(settings: Settings, bound: str) -> bool:
    """Whether only this machine reaches a server that listens on `bound`.

    Raises:
        InvalidSetting: It would be open to everybody, or a setting is not for HTTP.
    """
    host, _ = host_and_port(bound)
    is_local = is_this_machine(f"http://{bound}") and host not in ("0.0.0.0", "::")
    asks = settings.tokens is not None or settings.oauth_issuer is not None
    if not is_local and not asks and settings.public_url is None:
        raise InvalidSetting(
            f"--http: {bound} is open to other machines, and anybody there could listen and speak: set EVI_MCP_TOKENS"
            " or EVI_MCP_OAUTH_ISSUER, or (where a proxy asks who calls) EVI_MCP_PUBLIC_URL."
        )
    if settings.claude_channel:
        raise InvalidSetting("EVI_MCP_CLAUDE_CHANNEL is for stdio: over HTTP no session is the one to be cued.")
    return is_local


def issuer_of(settings: Settings, asking: Asking, clock: Clock) -> Issuer:
    """The authorization server whose tokens are taken."""
    assert settings.oauth_issuer is not None
    return Issuer(settings.oauth_issuer, asking, clock, allow_plain_http=is_this_machine(settings.oauth_issuer))


def _configure_logs(settings: Settings, mask: Any) -> None:
    if any(isinstance(handler.formatter, logs.KeyValueFormatter) for handler in logging.getLogger().handlers):
        logs.configure(settings.log_level, mask)


def _doors(settings: Settings, bound: str, file: TokenFile | None, asking: Asking, clock: SystemClock) -> list[Door]:
    resource = resource_url(settings.public_url, bound)
    static = Challenge(resource)
    if settings.oauth_issuer is None:
        return [Door(PATH, file, static)]
    issuer = issuer_of(settings, asking, clock)
    client = None
    if settings.oauth_client_id is not None and settings.oauth_client_secret is not None:
        client = settings.oauth_client_id, settings.oauth_client_secret.get_secret_value()
    audiences = [settings.oauth_audience] if settings.oauth_audience else [resource, resource + "/"]
    verifier = OAuthTokens(issuer, audiences, clock, client)
    doors = [Door(PATH, verifier, Challenge(resource, settings.oauth_issuer, settings.oauth_scopes))]
    if file is not None and file.table.token:
        doors.append(Door(STATIC_PATH, file, static))
    return doors


async def look_after(web: Web) -> None:
    """Ends what is used with tokens that are good no more, and follows the tenants of the file; for ever."""
    said = ""
    while True:
        await anyio.sleep(LOOK_S)
        try:
            await web.end_revoked()
            await web.tenants.follow_file()
            said = ""
        except Exception as error:  # whatever it is, those who are served go on
            if said != (said := str(error)):
                fault = None if isinstance(error, EviMcpError) else error
                _log.error("the tokens file cannot be followed", extra=logs.fields(reason=said), exc_info=fault)


async def end(web: Web, uvicorn: Server) -> None:
    """Ends what waits, leaves the chats, and has uvicorn end."""
    web.draining = web.leaving = True
    with anyio.CancelScope(shield=True):  # whatever else fails now, no caller is left with a mute assistant
        await web.tenants.leave()
        await anyio.sleep(LAST_ANSWERS_S)
        web.running.end_all()
        uvicorn.should_exit = True


async def serve(
    settings: Settings,
    connector: Connector | None = None,
    directory: Directory | None = None,
    apart: Apart | None = None,
) -> int:
    """Serves until a signal comes; the exit status. The first line on stdout is the URL.

    Args:
        connector, directory: As for `open_service`.
        apart: As for `open_tenants`.

    Raises:
        EviMcpError: It cannot begin.
    """
    assert settings.http is not None
    told = anyio.Event()
    host, port = host_and_port(settings.http)
    listener = listen(host, port)
    bound = f"{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    try:
        async with (
            open_web(settings, bound, connector, directory, apart=apart) as web,
            anyio.create_task_group() as group,
        ):

            def notice(reason: str) -> None:
                web.draining = True
                _log.info("%s, draining", reason)

            ending = Ending(told.set, notice_s=settings.drain_s, on_notice=notice)
            ending.catch_signals()
            uvicorn = server(web.app, settings.trusted_proxies, 2 * settings.max_waits + 500)

            async def leave() -> None:
                await told.wait()
                _log.info("%s, closing", ending.reason)
                await end(web, uvicorn)

            group.start_soon(leave)
            group.start_soon(look_after, web)
            _log.info("serving over HTTP", extra=logs.fields(address=bound, paths=[door.path for door in web.doors]))
            with suppress(OSError):  # nobody has to read it
                print(f"http://{bound}{PATH}", flush=True)  # noqa: T201 - stdout is free over HTTP
            logs.take_strays(settings.mask)
            gc.freeze()  # what start-up has made stays for good: no pass has to look at it again
            await uvicorn.serve([listener])
            group.cancel_scope.cancel()
    finally:
        listener.close()
    return ending.status or 0
