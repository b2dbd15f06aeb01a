"""The command `evi-mcp`: serve, simulate, demo, doctor."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import click
from pydantic import SecretStr

from evi_mcp import __version__
from evi_mcp.config import Settings, load, rows
from evi_mcp.errors import InvalidSetting

MISUSE = 2


class _ServeByDefault(click.Group):
    """A group in which a command line without a command is one of `serve`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ("--help", "-h", "--version")):
            args = ["serve", *args]
        return super().parse_args(ctx, args)


def _with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds a flag for every setting."""
    for row in reversed(list(rows())):
        default = f" Default: {row.default}." if row.default is not None else ""
        command = click.option(
            row.flag,
            row.field,
            default=None,
            metavar="VALUE",
            help=f"{row.description}{default}  [{row.variable}]",
        )(command)
    return command


@click.group(cls=_ServeByDefault, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="evi-mcp")
def _evi_mcp() -> None:
    """MCP server that lets an LLM agent supervise live EVI voice chats.

    Without a command: serve. Try it without an account: evi-mcp demo
    """


@_evi_mcp.command()
@click.option("--simulate", is_flag=True, help="Run a simulated EVI inside: no key, live scripted chats at once.")
@_with_settings
def serve(simulate: bool, **flags: str | None) -> int:
    """Serve MCP over stdin and stdout (the default)."""
    if simulate and flags["base_url"]:
        raise click.UsageError("--simulate brings its own service along; leave --base-url away.")
    settings = _settings(flags)
    if sys.stdin.isatty():
        click.echo("evi-mcp speaks MCP on stdin and stdout; an MCP client starts it. Ctrl-C ends it.", err=True)
    from evi_mcp.server import stdio

    stdio.run(_simulated(settings) if simulate else stdio.serve(settings))
    return 0


async def _simulated(settings: Settings) -> int:
    from evi_mcp.server import stdio
    from evi_mcp.simulator import Simulator

    async with Simulator() as simulator:
        update = {"base_url": simulator.base_url, "hume_api_key": SecretStr("simulated")}
        return await stdio.serve(settings.model_copy(update=update))


@_evi_mcp.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--speed", default=1.0, show_default=True, type=click.FloatRange(0.1, 100), help="Of the scripted calls.")
@click.option("--api-key", default=None, help="The only key accepted; any is, if not given.")
def simulate(host: str, port: int, speed: float, api_key: str | None) -> int:
    """Run the simulated EVI alone.

    The first line on stdout is its base URL, for EVI_MCP_BASE_URL. Ctrl-C ends it.
    """
    _configure_logging("INFO")
    return asyncio.run(_simulate(host, port, speed, api_key))


async def _simulate(host: str, port: int, speed: float, api_key: str | None) -> int:
    """Runs until a signal comes."""
    from evi_mcp.simulator import Simulator

    try:
        async with Simulator(host, port, api_key=api_key, speed=speed) as simulator:
            click.echo(simulator.base_url)
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
                async for _ in received:
                    return 0
    except OSError as error:
        click.echo(f"evi-mcp: cannot listen on {host} port {port}: {error.strerror or error}", err=True)
        return 1
    return 0


@_evi_mcp.command()
def demo() -> int:
    """Show a supervised call; no account.

    Starts the simulated EVI and this server as a real process, attaches as a real MCP client, and follows one call to
    its end, in about 40 seconds. Status 0 only if each of its steps really happened.
    """
    from evi_mcp.demo import run

    return run()


@_evi_mcp.command()
@_with_settings
def doctor(**flags: str | None) -> int:
    """Check settings, service and key.

    One line for each check, with what to fix; status 1 if something is.
    """
    from evi_mcp.doctor import run

    return run(_settings(flags))


def _settings(flags: dict[str, str | None]) -> Settings:
    settings = load(flags)
    _configure_logging(settings.log_level)
    return settings


def _configure_logging(level: str) -> None:
    """To stderr, before the SDK would set up a handler of its own."""
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    # These repeat requests, and so what callers said, at INFO.
    for chatty in ("mcp", "httpx", "httpcore", "websockets"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 if all went well, 1 if not, 2 and one line on stderr for misuse."""
    try:
        status = _evi_mcp.main(args=None if argv is None else list(argv), standalone_mode=False)
    except (click.ClickException, InvalidSetting) as error:
        said = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"evi-mcp: {' '.join(said.split())}", err=True)
        sys.exit(MISUSE)
    except (KeyboardInterrupt, click.Abort, asyncio.CancelledError):
        sys.exit(130)
    sys.exit(status or 0)
