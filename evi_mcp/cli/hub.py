"""The command `evi-mcp hub`: bots dial in, supervisors attach."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import click

from evi_mcp import logs
from evi_mcp.config import Settings, load
from evi_mcp.ending import Ending

if TYPE_CHECKING:
    from evi_mcp.hub import Hub
    from evi_mcp.upstream.transport import Connector


class Address(click.ParamType[tuple[str, int]]):
    """`HOST:PORT`, with an IPv6 address in brackets."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        host, colon, port = value.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (colon and host and port.isdecimal() and port.isascii() and int(port) <= 65535):
            self.fail("is to be HOST:PORT, such as 127.0.0.1:8770", param, ctx)
        return host, int(port)


@asynccontextmanager
async def opened(
    settings: Settings, host: str | None, port: int, *, returning_s: float = 0.0
) -> AsyncIterator[tuple["Hub", "Connector"]]:
    """A hub, and the way to its chats; with `OPENAI_API_KEY` calls of OpenAI Realtime are among them.

    Args:
        host: `None` listens nowhere.
        returning_s: As for `Hub`.

    Raises:
        InvalidSetting, CannotListen: As `Hub`.
    """
    from evi_mcp.hub import Hub

    served = Hub(host, port, keys=settings.hub_key_list, returning_s=returning_s)
    if settings.openai_api_key is None:
        async with served:
            yield served, served.connector
        return
    from evi_mcp.cli.openai import calls_on
    from evi_mcp.openai_realtime.calls import CallsConnector

    calls = calls_on(served, settings.openai_api_key, settings)
    async with served, calls:
        yield served, CallsConnector(served.connector, calls, served)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need keys.")
@click.option("--port", default=8770, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--hub-keys", metavar="VALUE", help="Comma-separated keys of the hub.  [EVI_MCP_HUB_KEYS]")
@click.option("--log-level", metavar="VALUE", help="Level of the log on stderr.  [EVI_MCP_LOG_LEVEL]")
def hub(host: str, port: int, hub_keys: str | None, log_level: str | None) -> int:
    """Run the hub alone: voice agents dial in, MCP servers and other clients supervise them.

    It speaks EVI's control plane. The first line on stdout is its base URL, for EVI_MCP_BASE_URL and for the bots.
    Ctrl-C ends it.
    """
    settings = load({"hub_keys": hub_keys, "log_level": log_level})
    logs.configure(settings.log_level, settings.mask)
    return asyncio.run(_run(host, port, settings))


async def _run(host: str, port: int, settings: Settings) -> int:
    """Runs until a signal comes."""
    from evi_mcp.hub.links import GRACE_S

    told = anyio.Event()
    Ending(told.set).catch_signals()
    async with opened(settings, host, port, returning_s=GRACE_S) as (served, _):
        click.echo(served.base_url)
        await told.wait()
    return 0
