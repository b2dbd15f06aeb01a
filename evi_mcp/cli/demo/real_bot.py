"""A real voice bot and somebody on the phone with it, as two processes: the examples, as docs/bots.md shows them."""

import asyncio
import socket
import sys
import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from evi_mcp.errors import EviMcpError

PATIENCE_S = 20.0
"""How long the bot may take for anything."""

_PLACES = (
    Path(__file__).parents[3] / "examples",  # in a checkout
    Path(sysconfig.get_path("data")) / "share" / "evi-mcp" / "examples",  # in an installation
)


class NoBot(EviMcpError):
    """The bot cannot be run here; the text says why and what to do."""


class BotFailed(EviMcpError):
    """The bot or its caller did not do what was waited for."""


class Program:
    """A process whose output is read as it comes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._output = ""
        self._came = asyncio.Event()
        self._read_to = 0
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, script: Path, *arguments: str) -> "Program":
        """Runs a script with this Python."""
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        command = [sys.executable, "-u", str(script), *arguments]
        return cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=null))

    async def writes(self, text: str) -> None:
        """Waits until it writes this, after what was waited for before.

        Raises:
            BotFailed: It does not, or has ended.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (place := self._output.find(text, self._read_to)) < 0:
                    if self._reading.done():
                        raise BotFailed(f"the bot has ended before {text!r} came")
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            raise BotFailed(f"{text!r} did not come within {PATIENCE_S:g} s") from None
        self._read_to = place + len(text)

    @property
    def unread(self) -> str:
        """What it has written since what was waited for."""
        return self._output[self._read_to :]

    async def read(self, line: str) -> None:
        """Gives it a line to read."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()

    async def stop(self) -> None:
        """Ends it, whatever it does."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while data := await self._process.stdout.read(4096):
            self._output += data.decode(errors="replace")
            self._came.set()
        self._came.set()


def examples() -> Path:
    """Where the examples are.

    Raises:
        NoBot: Pipecat is not installed beside this, or there are no examples.
    """
    if find_spec("pipecat") is None:
        raise NoBot(f"Pipecat is not installed beside {sys.executable}; with pip install 'pipecat-ai[websocket]' it is")
    found = next((place for place in _PLACES if (place / "pipecat_bot.py").exists()), None)
    if found is None:
        raise NoBot("the examples are missing: pip install --force-reinstall evi-mcp, and try again")
    return found


@asynccontextmanager
async def phone_call(hub_url: str, key: str, chat_id: str) -> AsyncIterator[Program]:
    """A Pipecat bot that dials in to a hub, and its caller, who says what is given to read and writes what is heard.

    Raises:
        NoBot: There can be none.
        BotFailed: It does not start.
    """
    folder = examples()
    port = str(_free_port())
    programs: list[Program] = []
    try:
        bot = ["--hub", hub_url, "--key", key, "--chat-id", chat_id, "--port", port]
        programs.append(await Program.start(folder / "pipecat_bot.py", *bot))
        await programs[0].writes("on ws://")
        programs.append(await Program.start(folder / "typed_caller.py", f"ws://127.0.0.1:{port}"))
        await programs[1].writes("You are connected.")
        yield programs[1]
    finally:
        for program in reversed(programs):
            await program.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
