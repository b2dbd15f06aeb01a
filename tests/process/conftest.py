"""The console script as a real process: nothing but its environment, stdin, stdout and signals."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fake_evi import KEY, FakeEvi, fake_evi

SCRIPT = str(Path(sys.executable).with_name("evi-mcp"))


@pytest.fixture
async def evi() -> AsyncIterator[FakeEvi]:
    async with fake_evi() as service:
        yield service


class Process:
    """A client by hand: JSON-RPC lines, so that a test sees every byte."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._id = 0

    def write(self, line: str | bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line if isinstance(line, bytes) else line.encode() + b"\n")

    async def read(self) -> Any:
        assert self.process.stdout is not None
        line = (await self.process.stdout.readline()).decode()
        self.lines.append(line)
        return json.loads(line)

    async def request(self, method: str, **params: Any) -> Any:
        """Sends a request and returns its answer, whatever else comes in between."""
        self._id += 1
        self.write(json.dumps({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}))
        while (answer := await self.read()).get("id") != self._id:
            pass
        return answer

    async def initialize(self) -> Any:
        answer = await self.request(
            "initialize",
            protocolVersion="2025-11-25",
            capabilities={},
            clientInfo={"name": "by-hand", "version": "1"},
        )
        self.write(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        return answer

    async def call(self, tool: str, **arguments: Any) -> Any:
        answer = await self.request("tools/call", name=tool, arguments=arguments)
        return answer["result"]

    def ask(self, id: int | str, tool: str, **arguments: Any) -> None:
        """Calls a tool and goes on; its answer is still to be read."""
        params = {"name": tool, "arguments": arguments}
        self.write(json.dumps({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}))

    def end_input(self) -> None:
        """Closes its stdin, as a client that goes away does."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def stop_reading(self) -> None:
        """From now on nobody reads its stdout, and the pipe fills up."""
        assert self.process.stdout is not None
        self.process.stdout._transport.pause_reading()  # type: ignore[attr-defined]  # no public way to stop reading

    def go_on_reading(self) -> None:
        """The end of `stop_reading`."""
        assert self.process.stdout is not None
        self.process.stdout._transport.resume_reading()  # type: ignore[attr-defined]  # as above

    async def ended(self) -> tuple[int, str]:
        """The exit status and what it wrote to stderr. What is left on stdout joins `lines`."""
        assert self.process.stdout is not None and self.process.stderr is not None
        said = (await self.process.stderr.read()).decode()
        self.lines += (await self.process.stdout.read()).decode().splitlines()
        return await self.process.wait(), said


@asynccontextmanager
async def evi_mcp(
    *arguments: str,
    evi: FakeEvi | None = None,
    limits: str = "",
    environment: Mapping[str, str] | None = None,
    limit_s: float | None = 120,
    **more: str,
) -> AsyncIterator[Process]:
    """Runs `evi-mcp` with these arguments, under `limits` as `ulimit` takes them; it is killed if the test leaves it
    running, or after `limit_s` seconds.

    Its environment has the address and the key of `evi`, then `environment`, then `more`. Its results are text and
    structure, unless that says otherwise.
    """
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "COVERAGE_PROCESS_CONFIG") if name in os.environ}
    keep["EVI_MCP_RESULTS"] = "both"
    service = {"EVI_MCP_BASE_URL": evi.base_url, "HUME_API_KEY": KEY} if evi is not None else {}
    under_limits = ("sh", "-c", f'ulimit {limits} && exec "$0" "$@"') if limits else ()
    process = await asyncio.create_subprocess_exec(
        *under_limits,
        SCRIPT,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**keep, **service, **(environment or {}), **more},
        limit=2**26,
    )
    try:
        async with asyncio.timeout(limit_s):
            yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
        process._transport.close()  # type: ignore[attr-defined]  # first: `wait` waits for its pipes to be read
        await process.wait()
