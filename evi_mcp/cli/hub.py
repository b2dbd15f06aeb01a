"""The command `evi-mcp hub`: bots dial in, supervisors attach."""

import asyncio
import signal
from contextlib import AsyncExitStack

import anyio
import click

from evi_mcp import logs
from evi_mcp.config import Settings, load


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
    from evi_mcp.cli.openai import calls_on
    from evi_mcp.hub import Hub

    async with AsyncExitStack() as stack:
        try:
            served = Hub(host, port, keys=settings.hub_key_list)
            calls = calls_on(served, settings)
            await stack.enter_async_context(served)
        except OSError as error:
            click.echo(f"evi-mcp: cannot listen on {host} port {port}: {error.strerror or error}", err=True)
            return 1
        if calls is not None:
            await stack.enter_async_context(calls)
        received = stack.enter_context(anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT))
        click.echo(served.base_url)
        async for _ in received:
            return 0
    return 0
