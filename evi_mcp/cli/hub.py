"""The command `evi-mcp hub`: bots dial in, supervisors attach."""

import asyncio
from collections.abc import Sequence
from typing import Any

import anyio
import click

from evi_mcp import logs
from evi_mcp.config import load
from evi_mcp.ending import Ending


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
    return asyncio.run(_run(host, port, settings.hub_key_list))


async def _run(host: str, port: int, keys: Sequence[str]) -> int:
    """Runs until a signal comes."""
    from evi_mcp.hub import Hub

    told = anyio.Event()
    Ending(told.set).catch_signals()
    async with Hub(host, port, keys=keys) as served:
        click.echo(served.base_url)
        await told.wait()
    return 0
