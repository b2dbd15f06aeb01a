"""`evi-mcp doctor`: checks the settings, the way to the service, and the key, and says what to fix."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from evi_mcp.addresses import is_encrypted, is_this_machine
from evi_mcp.audit import file
from evi_mcp.cli import limits
from evi_mcp.config import Settings
from evi_mcp.errors import InvalidSetting, ServiceUnavailable
from evi_mcp.quoting import plain
from evi_mcp.upstream import environment
from evi_mcp.upstream.rest import RestClient

HUME = "https://api.hume.ai"


class Check(NamedTuple):
    """What one check found, in a line; `fine` is false if something is to be fixed."""

    name: str
    fine: bool
    said: str


def run(settings: Settings) -> int:
    """Prints one line for each check; 0 if all is well, else 1."""
    failed = 0
    for check in _checks(settings):
        click.echo(f"{'ok  ' if check.fine else 'FAIL'}  {check.name}: {plain(check.said)}")
        failed += not check.fine
    return 1 if failed else 0


def _checks(settings: Settings) -> Iterator[Check]:
    yield Check("settings", True, f"{settings.base_url}, access {settings.access}, results {settings.results}")
    for check in (_clear_text, _proxy, _certificates, _open_files):
        yield check(settings)
    if settings.audit_log is not None:
        yield _audit_log(Path(settings.audit_log))
    if settings.hume_api_key is None:
        said = "HUME_API_KEY is not set; set it in the `env` of the MCP client's entry for this server"
        yield Check("key", False, said)
        return
    yield Check("key", True, "set (never shown)")
    yield asyncio.run(_service(settings))


def _clear_text(settings: Settings) -> Check:
    """Whether others can read the key on its way; where they can, somebody has allowed it."""
    if is_encrypted(settings.base_url):
        said = "none, the service is reached with TLS"
    elif is_this_machine(settings.base_url):
        said = "does not leave this machine"
    else:
        said = "key and speech cross the network unencrypted, as EVI_MCP_ALLOW_PLAIN_HTTP allows"
    return Check("clear text", True, said)


def _proxy(settings: Settings) -> Check:
    route = environment.route_to(settings.base_url)
    return Check("proxy", route.trouble is None, route.shown)


def _certificates(settings: Settings) -> Check:
    if not is_encrypted(settings.base_url):
        return Check("certificates", True, "not needed without TLS")
    trouble = environment.certificate_trouble()
    return Check("certificates", trouble is None, trouble or "those of the system, and of SSL_CERT_FILE if it is set")


def _open_files(settings: Settings) -> Check:
    limit = limits.raise_open_files()
    if limit is None:
        return Check("open files", True, "no limit")
    fit = limits.chats_within(limit, settings.max_chats)
    if fit < settings.max_chats:
        said = (
            f"at most {limit}, enough for {fit} chats, while EVI_MCP_MAX_CHATS is {settings.max_chats}; raise the hard"
            " limit (ulimit -Hn) or lower EVI_MCP_MAX_CHATS"
        )
        return Check("open files", False, said)
    return Check("open files", True, f"at most {limit}, enough for {settings.max_chats} chats")


def _audit_log(path: Path) -> Check:
    """Whether the server will be able to record what it sends; nothing is written to find out."""
    try:
        return Check("audit log", True, f"{path} {file.check(path)}")
    except InvalidSetting as error:
        return Check("audit log", False, str(error))


async def _service(settings: Settings) -> Check:
    assert settings.hume_api_key is not None
    rest = RestClient(settings.base_url, settings.hume_api_key, settings.mask)
    try:
        found, more = await rest.active_chats()
    except ServiceUnavailable as error:
        said = str(error)
        if settings.base_url == HUME:
            said += (
                " Hume announced the end of hosted access to EVI for 13 November 2026; another EVI-compatible service"
                " is set with EVI_MCP_BASE_URL, and `evi-mcp serve --simulate` needs none."
            )
        return Check("service", False, said)
    finally:
        await rest.aclose()
    return Check("service", True, f"it accepts the key and lists {len(found)}{'+' if more else ''} active chats")
