"""`evi-mcp doctor`: checks the settings, the way to the service, and the key, and says what to fix."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import click
from pydantic import SecretStr

from evi_mcp.addresses import is_encrypted, is_this_machine
from evi_mcp.audit import file
from evi_mcp.cli import doctor_http, limits
from evi_mcp.cli.check import Check
from evi_mcp.config import Settings
from evi_mcp.errors import InvalidSetting, ServiceUnavailable
from evi_mcp.openai_realtime.endpoints import Endpoint
from evi_mcp.openai_realtime.refusals import sentence
from evi_mcp.openai_realtime.sideband import Refused, open_sideband
from evi_mcp.quoting import plain
from evi_mcp.upstream import environment
from evi_mcp.upstream.rest import RestClient
from evi_mcp.upstream.transport import Unreachable

HUME = "https://api.hume.ai"
NO_CALL = "rtc_evi_mcp_doctor"


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
    if doctor_http.is_asked_for(settings):
        yield from doctor_http.checks(settings)
    if settings.oauth_issuer is not None:
        yield asyncio.run(doctor_http.issuer(settings))
    if settings.openai_api_key is not None:
        yield asyncio.run(_openai(settings.openai_api_key, settings.openai_base_url))
    if settings.hume_api_key is None and settings.openai_api_key is not None:
        yield Check("key", True, "HUME_API_KEY is not set: there are calls of OpenAI Realtime, and no chats of EVI")
        return
    if settings.hume_api_key is None and doctor_http.has_tenants(settings):
        yield Check("key", True, "HUME_API_KEY is not set: the tenants have keys of their own, and nobody else chats")
        return
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


async def _openai(key: SecretStr, base_url: str) -> Check:
    """Whether the service takes the key: it is asked for a call that there is not."""
    try:
        socket = await open_sideband(Endpoint(key, base_url), NO_CALL)
    except Refused as refusal:
        if refusal.status == 404:
            return Check("calls", True, f"{base_url} accepts the key, and knows no call {NO_CALL}, as it should")
        return Check("calls", False, sentence(refusal, 0.0))
    except Unreachable as trouble:
        return Check("calls", False, f"{trouble} ({base_url})")
    await socket.close()
    return Check("calls", False, f"{base_url} takes any call for one of its own; check EVI_MCP_OPENAI_BASE_URL")


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
