"""A call with a real bot: its process, a caller who hears what a person would hear, and the hub that supervises it."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.link.fake_hub import KEY, FakeChat, FakeHub

ROOT = Path(__file__).parent.parent.parent.parent
EXAMPLES = ROOT / "examples"
PATIENCE_S = 40.0


class Program:
    """A process whose output is read as it comes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.output = ""
        self.log = ""
        self._reading = [asyncio.create_task(self._read_output()), asyncio.create_task(self._read_log())]

    @classmethod
    async def start(cls, *command: str | Path, env: dict[str, str]) -> "Program":
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, stderr=pipe, env=env, start_new_session=True
            )
        )

    async def _read_output(self) -> None:
        assert self.process.stdout is not None
        while data := await self.process.stdout.read(4096):
            self.output += data.decode(errors="replace")

    async def _read_log(self) -> None:
        assert self.process.stderr is not None
        while data := await self.process.stderr.read(4096):
            self.log += data.decode(errors="replace")

    async def shows(self, text: str) -> None:
        """Waits until this was written, to either."""
        await until(
            lambda: text in self.output or text in self.log,
            lambda: f"{text!r} did not come; there is: {self.output[-1000:]}{self.log[-3000:]}",
        )

    async def ends(self) -> int:
        """Waits for the end, and returns the status."""
        async with asyncio.timeout(PATIENCE_S):
            status = await self.process.wait()
            await asyncio.wait(self._reading)
        return status

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # with the bot that a caller has started
        await self.process.wait()
        await asyncio.wait(self._reading)
        process: Any = self.process
        process._transport.close()  # else asyncio warns of a pipe that nobody closed


class Call:
    """One call. `bot` and `caller` are the same process where the caller starts the bot."""

    def __init__(self, hub: FakeHub | None, bot: Program, caller: Program) -> None:
        self._hub = hub
        self.bot = bot
        self.caller = caller
        self._heard_to = 0

    @property
    def hub(self) -> FakeHub:
        """The fake hub that supervises it."""
        assert self._hub is not None
        return self._hub

    async def chat(self) -> FakeChat:
        """The chat at the hub, with its link."""
        chat = await self.hub.chat()
        await self.hub.until(lambda: chat.socket)
        return chat

    async def say(self, text: str) -> None:
        """The caller says this."""
        stdin = self.caller.process.stdin
        assert stdin is not None
        stdin.write(f"{text}\n".encode())
        await stdin.drain()

    async def hears(self, text: str) -> None:
        """Waits until the caller hears this, after whatever was waited for before."""
        await until(
            lambda: text in self.caller.output[self._heard_to :],
            lambda: f"{text!r} was not heard; there is: {self.heard[-1000:]}\n{self.bot.log[-3000:]}",
        )
        self._heard_to = self.caller.output.index(text, self._heard_to) + len(text)

    @property
    def heard(self) -> str:
        """What was heard since what was waited for."""
        return self.caller.output[self._heard_to :]

    async def hang_up(self) -> None:
        assert self.caller.process.stdin is not None
        self.caller.process.stdin.close()


async def until(condition: Callable[[], Any], problem: Callable[[], str]) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110  # another process changes it
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(problem()) from None


@asynccontextmanager
async def call_with(
    kind: str,
    python: Path,
    hub: FakeHub | None,
    *,
    hub_url: str = "",
    chat_id: str | None = None,
    think: float = 0.0,
    tool_timeout: float = 45.0,
    outlast: bool = False,
    bot: Path = EXAMPLES / "pipecat_bot.py",
    more: Sequence[str] = (),
) -> AsyncIterator[Call]:
    """A call with an example bot, `pipecat` or `livekit`.

    Args:
        hub: A fake hub, or `None` for one at `hub_url` that opens with the same key.
        chat_id: The chat's id; `None` makes one up.
        think: How long the LLM thinks before it calls a tool, in seconds.
        tool_timeout: How long the bot waits for a supervisor's answer, in seconds.
        outlast: Whether such a call goes on while the caller talks.
        bot, more: Another Pipecat bot, and more options for it.
    """
    url = hub.url if hub is not None else hub_url
    env = environment(url) | ({"EVI_CHAT_ID": chat_id} if chat_id else {})
    env |= {"EVI_THINK": str(think), "EVI_TOOL_TIMEOUT": str(tool_timeout)}
    env |= {"EVI_OUTLAST": "1"} if outlast else {}
    programs: list[Program] = []
    try:
        if kind == "pipecat":
            port = str(free_port())
            options = ["--hub", url, "--key", KEY, "--port", port]
            options += ["--chat-id", chat_id] if chat_id else []
            if bot.parent == EXAMPLES:
                options += ["--think", str(think), "--tool-timeout", str(tool_timeout)]
                options += ["--outlast"] * outlast
            programs.append(await Program.start(python, bot, *options, *more, env=env))
            await programs[0].shows("on ws://")
            address = f"ws://127.0.0.1:{port}"
            programs.append(await Program.start(python, EXAMPLES / "typed_caller.py", address, env=env))
        else:
            agent = EXAMPLES / "livekit_bot.py"
            programs.append(await Program.start(python, EXAMPLES / "typed_caller.py", agent, env=env))
        call = Call(hub, programs[0], programs[-1])
        await call.hears("You are connected.")
        yield call
    finally:
        for program in reversed(programs):
            await program.kill()


def environment(hub_url: str) -> dict[str, str]:
    """What a bot's process is given."""
    ours = {"PYTHONPATH": str(ROOT), "EVI_HUB": hub_url, "EVI_HUB_KEY": KEY, "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **ours}


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
