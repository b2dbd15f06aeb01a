"""`evi-mcp doctor` for a server over HTTP: who could come in, with which tokens, and whether there is room."""

import time
from collections.abc import Iterator
from pathlib import Path

from evi_mcp.access.refusals import TokenUnverified
from evi_mcp.access.tokens import Table, TokenFile
from evi_mcp.addresses import host_and_port
from evi_mcp.cli import limits
from evi_mcp.cli.check import Check
from evi_mcp.clock import SystemClock
from evi_mcp.config import Settings
from evi_mcp.errors import EviMcpError, InvalidSetting
from evi_mcp.server.http import serve
from evi_mcp.server.http.app import PATH, resource_url
from evi_mcp.server.http.asking import Asking
from evi_mcp.server.http.tenants import tenant_settings
from evi_mcp.serving import listen

DEFAULT_ADDRESS = "127.0.0.1:8000"


def is_asked_for(settings: Settings) -> bool:
    """Whether any setting is for HTTP alone."""
    return any((settings.http, settings.tokens, settings.oauth_issuer, settings.public_url))


def checks(settings: Settings) -> Iterator[Check]:
    """All but what the issuer has to be asked for."""
    address = settings.http or DEFAULT_ADDRESS
    yield _address(settings, address)
    if settings.oauth_issuer is not None:
        yield _resource(settings, address)
    if settings.tokens is not None:
        yield from _tokens(settings, Path(settings.tokens))
    elif settings.oauth_issuer is None:
        yield Check("who calls", True, "nobody is asked: whoever reaches the address is one caller, with all rights")
    yield _connections(settings)


async def issuer(settings: Settings) -> Check:
    """Whether the authorization server answers, with keys that can be used."""
    clock = SystemClock()
    asking = Asking(clock)
    try:
        asked = serve.issuer_of(settings, asking, clock)
        found = await asked.count_keys()
        said = f"{settings.oauth_issuer} answers, with {found} usable {'key' if found == 1 else 'keys'}"
        if settings.oauth_client_id is not None:
            said += f"; opaque tokens are asked about at {await asked.endpoint('introspection_endpoint')}"
        return Check("issuer", True, said)
    except TokenUnverified as error:
        return Check("issuer", False, f"{error.why}; check EVI_MCP_OAUTH_ISSUER ({settings.oauth_issuer})")
    finally:
        await asking.aclose()


def _address(settings: Settings, address: str) -> Check:
    try:
        is_local = serve.check(settings, address)
    except InvalidSetting as error:
        return Check("address", False, str(error))
    host, port = host_and_port(address)
    reach = "this machine alone reaches it" if is_local else "other machines reach it"
    try:
        listen(host, port).close()
    except EviMcpError as error:
        return Check("address", True, f"{address}, {reach}; {error}; perhaps the server is running")
    return Check("address", True, f"{address}, {reach}")


def _resource(settings: Settings, address: str) -> Check:
    """What clients ask their tokens for has to be what they reach."""
    if settings.public_url is None and host_and_port(address)[0] in ("0.0.0.0", "::"):
        said = f"set EVI_MCP_PUBLIC_URL: no token can be issued for http://{address}{PATH}, which is no address"
        return Check("resource", False, said)
    return Check("resource", True, f"tokens are for {resource_url(settings.public_url, address)}")


def has_tenants(settings: Settings) -> bool:
    """Whether there are tenants with keys of their own, so that the server itself needs none."""
    try:
        return settings.tokens is not None and bool(TokenFile(Path(settings.tokens)).table.tenant)
    except InvalidSetting:
        return False


def _tokens(settings: Settings, path: Path) -> Iterator[Check]:
    try:
        table = TokenFile(path).table
    except InvalidSetting as error:
        yield Check("tokens", False, str(error))
        return
    yield _holders(table, path)
    for name, entry in table.tenant.items():
        try:
            own = tenant_settings(settings, name, entry)
        except InvalidSetting as error:
            yield Check(f"tenant {name}", False, str(error))
            continue
        has_key = own.hume_api_key is not None
        said = (
            f"{own.base_url}, access {own.access}" if has_key else "it has no hume_api_key, and the server's is not its"
        )
        yield Check(f"tenant {name}", has_key, said)


def _holders(table: Table, path: Path) -> Check:
    now = time.time()
    ends = [entry.principal.expires_at for entry in table.token]
    over = sum(at is not None and at <= now for at in ends)
    if over == len(ends):
        why = "all of its tokens have expired" if ends else "it has no token"
        return Check("tokens", False, f"{path}: {why}, so nobody comes in; `evi-mcp token new NAME` makes one")
    said = f"{path}: {len(ends) - over} that are good, {over} that have expired, {len(table.tenant)} tenants"
    return Check("tokens", True, said)


def _connections(settings: Settings) -> Check:
    """Each wait and each stream takes a connection, and so a file, beside those of the chats."""
    limit = limits.raise_open_files()
    needed = settings.max_chats + 2 * settings.max_waits + limits.BESIDES_CHATS
    if limit is not None and limit < needed:
        said = (
            f"at most {limit} open files, while EVI_MCP_MAX_CHATS ({settings.max_chats}) and as many waits and streams"
            f" as EVI_MCP_MAX_WAITS allows (2 x {settings.max_waits}) take {needed}; raise the hard limit (ulimit -Hn,"
            " LimitNOFILE) or lower them"
        )
        return Check("connections", False, said)
    return Check("connections", True, f"room for {settings.max_waits} waits and as many streams")
