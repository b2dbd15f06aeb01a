"""The processes of a measurement: the service, the servers beside each other, and a client that adds little itself."""

import asyncio
import itertools
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.traffic import STAMP

HERE = Path(__file__).parent
KEY = "benchmark-key"
PATIENCE_S = 240.0
"""A measurement that takes longer is broken, not slow."""

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")
_STAMP = re.compile(STAMP + r"(\d+)")


def has_hume() -> bool:
    """Whether Hume's SDK is installed (the extra `bench`)."""
    return find_spec("hume") is not None


class Process:
    """A child that is spoken to in lines of JSON."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.process, self._in, self._out = process, process.stdin, process.stdout

    def write(self, message: Any) -> None:
        """Sends a line."""
        self._in.write(json.dumps(message).encode() + b"\n")

    async def read_line(self) -> bytes:
        """The next line.

        Raises:
            ChildProcessError: There is none; what the process had to say of it is on stderr.
        """
        line = await self._out.readline()
        if not line:
            raise ChildProcessError("a process of the benchmark has ended; see above")
        return line

    async def read(self) -> Any:
        """The next line, read."""
        return json.loads(await self.read_line())

    @property
    def cpu_s(self) -> float:
        """Seconds of CPU that it has used so far, all its threads together."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9

    @property
    def resident_kib(self) -> int:
        """KiB of memory that it holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])


class Service(Process):
    """The service of `service.py`."""

    base_url = ""

    async def order(self, do: str, **order: Any) -> Any:
        """Has it do something; its answer."""
        self.write({"do": do, **order})
        return await self.read()


class Server(Process):
    """An MCP server on stdio and its client, by hand: JSON-RPC lines, so that no client library is measured."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        super().__init__(process)
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """The handshake."""
        self._reading = asyncio.create_task(self._read())
        info = {"name": "benchmark", "version": "1"}
        await self.request("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=info)
        self.write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    async def _read(self) -> None:
        try:
            while True:
                line = await self.read_line()
                # Answers begin or end with their id; only they are waited for, and they are read by who waits.
                if found := _ID.search(line[:60]) or _ID.search(line[-40:]):
                    if waiting := self._waiting.pop(int(found[1]), None):
                        waiting.set_result(line)
        except ChildProcessError as error:
            for waiting in self._waiting.values():
                waiting.set_exception(error)

    async def line(self, method: str, **params: Any) -> bytes:
        """The answer to a request, as it came."""
        number = next(self._ids)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self.write({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        return await answer

    async def request(self, method: str, **params: Any) -> Any:
        """The result of a request.

        Raises:
            AssertionError: It failed: then nothing was measured.
        """
        answer = json.loads(await self.line(method, **params))
        assert "result" in answer and not answer["result"].get("isError"), answer
        return answer["result"]

    async def call(self, tool: str, **arguments: Any) -> Any:
        """The structured result of a tool, or its text if it has none."""
        result = await self.request("tools/call", name=tool, arguments=arguments)
        return result.get("structuredContent") or result["content"]

    async def attach(self, chat_ids: list[str]) -> None:
        """Attaches to all of these at once."""
        for chat in await asyncio.gather(*(self.call("attach_chat", chat_id=chat_id) for chat_id in chat_ids)):
            assert chat["state"] == "live", chat

    def closed(self) -> None:
        if self._reading:
            self._reading.cancel()


_ID = re.compile(rb'"id":\s*(\d+)[,}]')


def stamps(text: str) -> list[int]:
    """The times at which what stands in a text was sent, in ns."""
    return [int(stamp) for stamp in _STAMP.findall(text)]


@asynccontextmanager
async def running(*command: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A child with pipes, which is to end when its stdin does."""
    env = {name: os.environ[name] for name in _KEPT if name in os.environ} | environment
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=env, cwd=HERE.parent, limit=2**26
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def service() -> AsyncIterator[Service]:
    """A running service."""
    async with running(sys.executable, "-m", "benchmarks.service") as process:
        started = Service(process)
        started.base_url = (await started.read())["base_url"]
        yield started


@asynccontextmanager
async def server(*command: str, **environment: str) -> AsyncIterator[Server]:
    """A running MCP server, after the handshake."""
    async with running(*command, **environment) as process:
        child = Server(process)
        try:
            await child.open()
            yield child
        finally:
            child.closed()


EVI_MCP = (str(Path(sys.executable).with_name("evi-mcp")), "serve")
EMPTY = (sys.executable, "-m", "benchmarks.empty_server")
PLAIN = (sys.executable, "-m", "benchmarks.plain_server")


def evi_mcp(base_url: str, **settings: str) -> Any:
    """evi-mcp as programs start it, against this service; `settings` are environment variables."""
    usual = {"EVI_MCP_BASE_URL": base_url, "HUME_API_KEY": KEY, "EVI_MCP_LOG_LEVEL": "WARNING"}
    return server(*EVI_MCP, **usual, EVI_MCP_RESULTS="both", **settings)


@asynccontextmanager
async def receiver(kind: str, base_url: str) -> AsyncIterator[Process]:
    """One of the loops of `receivers.py`, connected."""
    async with running(sys.executable, "-m", "benchmarks.receivers", kind, base_url) as process:
        child = Process(process)
        try:
            await child.read()
            yield child
        finally:
            process.terminate()  # it receives for ever
