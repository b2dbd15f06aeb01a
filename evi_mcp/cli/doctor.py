"""`evi-mcp doctor`: checks the settings, the service and the key, and says what to fix."""

import asyncio
from pathlib import Path

import click

from evi_mcp.audit import file
from evi_mcp.config import Settings
from evi_mcp.errors import InvalidSetting, ServiceUnavailable
from evi_mcp.upstream.rest import RestClient


def run(settings: Settings) -> int:
    """Prints one line for each check; 0 if all is well, else 1."""
    click.echo(f"ok    settings: {settings.base_url}, access {settings.access}, results {settings.results}")
    fine = settings.audit_log is None or _audit_log(Path(settings.audit_log))
    if settings.hume_api_key is None:
        click.echo("FAIL  key: HUME_API_KEY is not set; set it in the `env` of the MCP client's entry for this server")
        return 1
    click.echo("ok    key: set (never shown)")
    return asyncio.run(_ask(settings)) or (0 if fine else 1)


def _audit_log(path: Path) -> bool:
    """Whether the server will be able to record what it sends; nothing is written to find out."""
    try:
        click.echo(f"ok    audit log: {path} {file.check(path)}")
    except InvalidSetting as error:
        click.echo(f"FAIL  audit log: {error}")
        return False
    return True


async def _ask(settings: Settings) -> int:
    assert settings.hume_api_key is not None
    rest = RestClient(settings.base_url, settings.hume_api_key, settings.mask)
    try:
        found, more = await rest.active_chats()
    except ServiceUnavailable as error:
        click.echo(f"FAIL  service: {error}")
        if settings.base_url == "https://api.hume.ai":
            click.echo(
                "      Hume announced the end of hosted access to EVI for 13 November 2026; another EVI-compatible"
                " service is set with EVI_MCP_BASE_URL, and `evi-mcp serve --simulate` needs none."
            )
        return 1
    finally:
        await rest.aclose()
    click.echo(f"ok    service: it accepts the key and lists {len(found)}{'+' if more else ''} active chats")
    return 0
