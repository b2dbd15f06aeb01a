"""The command `evi-mcp`: serve, watch, hub, simulate, demo, doctor, token, audit."""

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import anyio
import click
from pydantic import SecretStr

from evi_mcp import __version__, ending, logs
from evi_mcp.cli import limits
from evi_mcp.cli.hub import Address, hub, opened
from evi_mcp.cli.loading import quickly
from evi_mcp.cli.simulated import EVI, Simulated, simulated
from evi_mcp.cli.token import token
from evi_mcp.config import Settings, load, rows
from evi_mcp.ending import Ending
from evi_mcp.errors import EviMcpError, InvalidChatId, InvalidSetting, MissingApiKey
from evi_mcp.protocol.chat_id import check_chat_id
from evi_mcp.quoting import plain
from evi_mcp.writer import discard

if TYPE_CHECKING:
    from evi_mcp.upstream.directory import Directory
    from evi_mcp.upstream.transport import Connector

MISUSE = 2
SIMULATED_CALL = "support"
"""The script that `watch --simulate` shows: it has an angry caller, an interruption and a tool call."""


_log = logging.getLogger(__name__)


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
        bare: dict[str, Any] = {"is_flag": False, "flag_value": row.bare} if row.bare is not None else {}
        command = click.option(
            row.flag,
            row.field,
            default=None,
            metavar="VALUE",
            **bare,
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
@click.option(
    "--simulate",
    is_flag=False,
    flag_value=EVI,
    type=Simulated(),
    metavar="CALL",
    help="Run a simulated EVI inside: no key, live scripted chats at once. With the name of one (such as billing) that"
    " call alone, with openai simulated calls of OpenAI Realtime.",
)
@click.option(
    "--simulate-speed",
    type=click.FloatRange(0.1, 100),
    metavar="TIMES",
    help="How many times faster than life simulated calls are; whoever answers has no less time. Default: 1.",
)
@click.option(
    "--hub",
    "hub_at",
    type=Address(),
    metavar="HOST:PORT",
    help="Run the hub inside: your voice agents dial in here, and are the chats. 127.0.0.1:8770 is where they look.",
)
@_with_settings
def serve(
    simulate: str | None, simulate_speed: float | None, hub_at: tuple[str, int] | None, **flags: str | None
) -> int:
    """Serve MCP over stdin and stdout (the default), or over HTTP."""
    if hub_at and (simulate or flags["base_url"]):
        raise click.UsageError("--hub, --simulate and --base-url each say where the chats are; take one of them.")
    if simulate_speed is not None and simulate is None:
        raise click.UsageError("--simulate-speed is for --simulate.")
    settings = _settings(flags, simulate=simulate is not None)
    inside = None if simulate is None else partial(simulated, simulate, simulate_speed or 1.0)
    limits.raise_open_files()
    if settings.http is not None:
        from evi_mcp.server.http import serve as http

        ending.run(_serving(settings, inside, hub_at, http.serve))
    if sys.stdin.isatty():
        logs.say("evi-mcp speaks MCP on stdin and stdout; an MCP client starts it. Ctrl-C ends it.")
    with quickly():
        from evi_mcp.server import stdio

    ending.run(_serving(settings, inside, hub_at, stdio.serve))


class _Serve(Protocol):
    """Serves MCP, on whatever it is; the exit status."""

    async def __call__(
        self, settings: Settings, connector: "Connector | None" = None, directory: "Directory | None" = None
    ) -> int: ...


async def _serving(
    settings: Settings,
    inside: Callable[[], AbstractAsyncContextManager[str]] | None,
    hub_at: tuple[str, int] | None,
    serve: _Serve,
) -> int:
    """Brings the chats along that are asked for, and serves them.

    `inside` runs simulated calls, and gives the base URL of their service.
    """
    if inside is not None:
        async with inside() as base_url:
            return await serve(_pointed_at(base_url, settings))
    # Calls of OpenAI Realtime are attached to by id: nothing has to dial in.
    if hub_at or settings.openai_api_key is not None:
        async with opened(settings, *(hub_at or (None, 0))) as (hub, connector):
            if hub.base_url is not None:
                _log.info("voice agents dial in at %s", hub.base_url)
            if hub_at and settings.http is not None:
                from evi_mcp.server.http.serve import serve as serve_tenants

                return await serve_tenants(settings, connector, hub.directory, hub.apart)
            if hub_at or settings.hume_api_key is None:
                return await serve(settings, connector, hub.directory)
            from evi_mcp.cli.openai import beside_evi

            async with beside_evi(settings, hub, connector) as both:
                return await serve(settings, *both)
    if settings.hume_api_key is None:
        _log.warning("%s", MissingApiKey())
    return await serve(settings)


def _pointed_at(base_url: str, settings: Settings) -> Settings:
    """The settings for a simulator inside, which takes any key: the real one stays out of it."""
    return settings.model_copy(update={"base_url": base_url, "hume_api_key": SecretStr("any")})


@_evi_mcp.command()
@click.argument("chat_id", required=False)
@click.option("--simulate", is_flag=True, help="Run a simulated EVI inside, with one live scripted call; no key.")
@_with_settings
def watch(chat_id: str | None, simulate: bool, **flags: str | None) -> int:
    """Follow a chat in the terminal.

    Shows what is said and how it sounds, tool calls and their answers, and what becomes of the connection, until the
    chat is over or Ctrl-C; nothing is sent to the chat. Without CHAT_ID: the chat that is active, if it is the only
    one, else a list of them.
    """
    settings = _settings(flags, simulate=simulate, quiet=True)
    if chat_id is not None:
        check_chat_id(chat_id)
    ending.now(asyncio.run(_watch(settings, chat_id, simulate)))


async def _watch(settings: Settings, chat_id: str | None, simulate: bool) -> int:
    from evi_mcp.cli.watch import watch

    if not simulate:
        return await watch(settings, chat_id)
    from evi_mcp.simulator import Simulator

    async with Simulator(calls=()) as simulator:
        chat_id = simulator.start_call(SIMULATED_CALL, chat_id)
        return await watch(_pointed_at(simulator.base_url, settings), chat_id)


@_evi_mcp.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--speed", default=1.0, show_default=True, type=click.FloatRange(0.1, 100), help="Of the scripted calls.")
@click.option("--api-key", default=None, help="The only key accepted; any is, if not given.")
def simulate(host: str, port: int, speed: float, api_key: str | None) -> int:
    """Run the simulated EVI alone.

    The first line on stdout is its base URL, for EVI_MCP_BASE_URL. Ctrl-C ends it.
    """
    logs.configure("INFO")
    return asyncio.run(_simulate(host, port, speed, api_key))


async def _simulate(host: str, port: int, speed: float, api_key: str | None) -> int:
    """Runs until a signal comes."""
    from evi_mcp.simulator import Simulator

    told = anyio.Event()
    Ending(told.set).catch_signals()
    async with Simulator(host, port, api_key=api_key, speed=speed) as simulator:
        click.echo(simulator.base_url)
        await told.wait()
    return 0


@_evi_mcp.command()
@click.option("--bot", type=click.Choice(["pipecat"]), help="Supervise a real bot instead, if Pipecat is installed.")
def demo(bot: str | None) -> int:
    """Show a supervised call; no account.

    Starts the simulated EVI and this server as a real process, attaches as a real MCP client, and follows one call to
    its end, in about 40 seconds. Status 0 only if each of its steps really happened.
    """
    from evi_mcp.cli.demo import run

    return run(bot is not None)


@_evi_mcp.command()
@_with_settings
def doctor(**flags: str | None) -> int:
    """Check settings, service and key.

    One line for each check, with what to fix; status 1 if something is.
    """
    from evi_mcp.cli.doctor import run

    return run(_settings(flags))


_evi_mcp.add_command(hub)


_evi_mcp.add_command(token)


@_evi_mcp.group()
def audit() -> None:
    """Check audit logs (EVI_MCP_AUDIT_LOG)."""


@audit.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--anchor", metavar="HASH", default=None, help="Hash of a record, from an earlier check: it must be there."
)
def verify(file: BinaryIO, anchor: str | None) -> int:
    """Find the first broken record of FILE.

    Status 0 if every record is as it was written and where it was written, else 1. The last hash is worth keeping
    elsewhere: the file alone cannot show that its end was cut off, or that all of it was written anew.
    """
    from evi_mcp.audit import verify

    try:
        report = verify.verify(file, anchor)
    except OSError as error:
        raise click.FileError(file.name, error.strerror) from None
    for line in verify.lines(report, anchor):
        click.echo(line)
    return 0 if verify.is_sound(report, anchor) else 1


def _settings(flags: dict[str, str | None], *, simulate: bool = False, quiet: bool = False) -> Settings:
    """The settings, with the log set up. `quiet`: only warnings are logged, unless a level was asked for."""
    if simulate and flags["base_url"]:
        raise click.UsageError("--simulate brings its own service along; leave --base-url away.")
    settings = load(flags)
    asked = "log_level" in settings.model_fields_set
    logs.configure("WARNING" if quiet and not asked else settings.log_level, settings.mask)
    return settings


def main(argv: Sequence[str] | None = None, *, stdout_is_closed: bool = False) -> None:
    """Runs the command line and exits: 0 if all went well, 1 if not, 2 and one line on stderr for misuse.

    Args:
        argv: `None` takes the arguments of the process.
        stdout_is_closed: Nothing can be shown or answered.
    """
    status = _failed("stdout is closed", 1) if stdout_is_closed else _main(argv)
    logs.flush()
    sys.exit(status)


def _main(argv: Sequence[str] | None) -> int:
    try:
        return _evi_mcp.main(args=None if argv is None else list(argv), standalone_mode=False) or 0
    except (click.ClickException, EviMcpError) as error:
        said = error.format_message() if isinstance(error, click.ClickException) else str(error)
        is_misuse = isinstance(error, click.ClickException | InvalidSetting | InvalidChatId)
        return _failed(said, MISUSE if is_misuse else 1)
    except OSError as error:  # all others are the business of whoever made the call
        discard(logs.STDOUT)
        return _failed(f"stdout takes no more: {error.strerror or error}", 1)
    except (KeyboardInterrupt, click.Abort, asyncio.CancelledError):
        return 130


def _failed(why: str, status: int) -> int:
    logs.say(f"evi-mcp: {plain(' '.join(why.split()))}")
    return status
