"""What the server over HTTP adds to a call, beside an empty server of the SDK: `python -m benchmarks.http`.

Both are real processes; one client by hand, which keeps its connection, so that what it costs is nearly the same for
both. Not a part of `make bench`.
"""

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from json import dumps
from pathlib import Path
from statistics import median
from typing import Any

import httpx2

from benchmarks.processes import KEY, Service, service, stamps
from benchmarks.report import p99

MODERN, HANDSHAKE = "2026-07-28", "2025-11-25"
ACCEPT = "application/json, text/event-stream"
CALLS, IN_FLIGHT, WAITS = 1000, 16, 500
AGENTS, CHATS = 500, 1000
PER_SECOND, SPEAKING_S = 0.2, 20.0
"""How often a chat says something, and for how long."""
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
}

_ids = itertools.count(1)


@asynccontextmanager
async def process(*command: str, environment: Mapping[str, str] | None = None) -> AsyncIterator[tuple[str, int]]:
    """A server whose first line is its URL; that, and its process id."""
    started = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environment)
    assert started.stdout is not None
    try:
        yield (await started.stdout.readline()).decode().strip(), started.pid
    finally:
        started.terminate()
        await started.wait()


def request(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A call of 2026-07-28."""
    params = {"name": tool, "arguments": arguments, "_meta": META}
    headers = {"Accept": ACCEPT, "MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": tool}
    return {"json": {"jsonrpc": "2.0", "id": next(_ids), "method": "tools/call", "params": params}, "headers": headers}


async def session(http: httpx2.AsyncClient, url: str) -> dict[str, str]:
    """A handshake session; the headers of its requests."""
    params = {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
    body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    answer = await http.post(url, json=body, headers={"Accept": ACCEPT})
    headers = {"Accept": ACCEPT, "MCP-Protocol-Version": HANDSHAKE, "Mcp-Session-Id": answer.headers["mcp-session-id"]}
    await http.post(url, json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=headers)
    return headers


async def round_trips(url: str, tool: str, *, handshake: bool) -> tuple[float, float]:
    """The median of a call, one at a time, in ms; and calls per second with several in flight."""
    async with httpx2.AsyncClient(timeout=60) as http:
        headers = await session(http, url) if handshake else None

        async def call() -> httpx2.Response:
            asked = request(tool, {})
            return await http.post(url, **{**asked, "headers": headers or asked["headers"]})

        trips = []
        for _ in range(CALLS):
            began = time.perf_counter()
            answer = await call()
            trips.append((time.perf_counter() - began) * 1000)
            assert answer.status_code == 200, answer.text

        async def caller() -> None:
            for _ in range(CALLS // IN_FLIGHT):
                await call()

        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
        return median(trips), CALLS / (time.perf_counter() - began)


class Bare:
    """A connection that costs next to nothing: with hundreds of agents a client of the usual kind would be measured."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader, self._writer, self._host = reader, writer, host

    @classmethod
    async def connect(cls, url: str) -> "Bare":
        """A connection to the server at this URL."""
        host = url.split("/")[2]
        reader, writer = await asyncio.open_connection(*host.split(":"), limit=2**22)
        return cls(reader, writer, host)

    async def post(self, json: Any, headers: Mapping[str, str]) -> str:
        """The body of the answer, its parts joined."""
        body = dumps(json).encode()
        lines = [f"{name}: {value}" for name, value in headers.items()]
        head = ["POST /mcp HTTP/1.1", f"Host: {self._host}", "Content-Type: application/json", *lines]
        self._writer.write("\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert answer.startswith("http/1.1 200"), answer
        if "content-length:" in answer:
            size = int(answer.split("content-length:")[1].split("\r\n")[0])
            return (await self._reader.readexactly(size)).decode()
        parts = []
        while size := int(await self._reader.readline(), 16):
            parts.append(await self._reader.readexactly(size))
            await self._reader.readline()
        await self._reader.readline()
        return b"".join(parts).decode()


def structure(answer: httpx2.Response) -> dict[str, Any]:
    """The structured result of a call."""
    return structure_of(answer.text)


def structure_of(text: str) -> dict[str, Any]:
    """The same of a body, which is JSON or a stream of events of which the last one is it."""
    if not text.startswith("{"):
        text = [line[5:] for line in text.splitlines() if line.startswith("data:") and line[5:].strip()][-1]
    result = json.loads(text)["result"]
    assert not result.get("isError"), result
    found: dict[str, Any] = result["structuredContent"]
    return found


async def memory(url: str, server: "Measured") -> tuple[float, float]:
    """KiB of a handshake session, and of a wait that is parked."""
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(timeout=60, limits=limits) as http:
        chats = structure(await http.post(url, **request("list_chats", {"scope": "active"})))
        await _attach(http, url, chats["chats"][0]["chat_id"])
        before = server.resident_kib
        for _ in range(WAITS):
            await session(http, url)
        sessions = (server.resident_kib - before) / WAITS
        before = server.resident_kib
        wait = request("wait_for_events", {"timeout_s": 20, "types": ["error"]})
        parked = [asyncio.create_task(http.post(url, **wait)) for _ in range(WAITS)]
        await asyncio.sleep(10)  # all of them are parked; they wait for twice as long
        waits = (server.resident_kib - before) / WAITS
        await asyncio.gather(*parked)
        return sessions, waits


async def agents(evi: Service, url: str, server: "Measured") -> list[str]:
    """Many agents over HTTP, each with a connection of its own and two chats: lines of what that costs."""
    latencies: list[float] = []
    async with httpx2.AsyncClient(timeout=90) as http:
        for first in range(0, CHATS, 100):
            await asyncio.gather(*(_attach(http, url, f"chat-{number}") for number in range(first, first + 100)))
        before, ends = server.resident_kib, 0.0

        async def agent(number: int) -> None:
            after, client = "latest", await Bare.connect(url)
            while not ends or time.monotonic() < ends:
                chats = [f"chat-{2 * number}", f"chat-{2 * number + 1}"]
                asked = request("wait_for_events", {"after": after, "chat_ids": chats, "timeout_s": 20})
                answer = await client.post(**asked)
                now = time.monotonic_ns()
                page = structure_of(answer)
                after = page["cursor"]
                latencies.extend((now - at) / 1e9 for event in page["events"] for at in stamps(event.get("text", "")))

        waiting = [asyncio.create_task(agent(number)) for number in range(AGENTS)]
        await asyncio.sleep(5)  # all of them are out, and what that cost is over
        silent = await server.share(10)
        parked = (server.resident_kib - before) / AGENTS
        await evi.order("pace", per_second=PER_SECOND)
        busy = await server.share(SPEAKING_S)
        ends = time.monotonic()
        await asyncio.gather(*waiting)
        await evi.order("pace", per_second=0)
    heard = len(latencies) / SPEAKING_S
    woken = f"wake-up p50 {median(latencies) * 1e3:.0f} ms, p99 {p99(latencies) * 1e3:.0f} ms"
    return [
        f"{AGENTS} agents that wait for {CHATS:,} silent chats: {silent:.1%} of a core, {parked:.0f} KiB an agent",
        f"the same, while the chats say {heard:.0f} things a second: {busy:.0%} of a core; {woken}",
    ]


async def _attach(http: httpx2.AsyncClient, url: str, chat_id: str) -> None:
    asked = request("attach_chat", {"chat_id": chat_id})
    asked["headers"]["Mcp-Param-Chat-Id"] = chat_id
    structure(await http.post(url, **asked))


class Measured:
    """A process whose use of memory and CPU is looked at (Linux)."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    @property
    def cpu_s(self) -> float:
        """Seconds of CPU that it has used so far."""
        tasks = Path(f"/proc/{self._pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9

    @property
    def resident_kib(self) -> float:
        """KiB of memory that it has."""
        pages = int(Path(f"/proc/{self._pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**10

    async def share(self, seconds: float) -> float:
        """Which part of a core it uses in the next so many seconds."""
        used, began = self.cpu_s, time.monotonic()
        await asyncio.sleep(seconds)
        return (self.cpu_s - used) / (time.monotonic() - began)


async def main(python: Sequence[str] = (sys.executable, "-m")) -> None:
    """Prints the figures."""
    serve = (*python, "evi_mcp", "serve", "--http", "127.0.0.1:0", "--max-waits", "2000", "--results", "structured")
    print("| Server | one at a time | 16 in flight |\n| --- | --- | --- |", flush=True)
    async with process(*python, "benchmarks.empty_server", "http") as (empty, _):
        async with process(*serve, "--simulate") as (ours, pid):
            for name, url, tool in (("empty server of the SDK", empty, "nothing"), ("evi-mcp", ours, "list_chats")):
                for handshake in (False, True):
                    one, many = await round_trips(url, tool, handshake=handshake)
                    era = HANDSHAKE if handshake else MODERN
                    print(f"| {name}, {era}, `{tool}` | {one:.2f} ms | {many:.0f} per s |", flush=True)
            sessions, waits = await memory(ours, Measured(pid))
            print(f"\nmemory: {sessions:.0f} KiB a handshake session, {waits:.0f} KiB a parked wait", flush=True)
    async with service() as evi:
        environment = {**os.environ, "HUME_API_KEY": KEY, "EVI_MCP_BASE_URL": evi.base_url}
        async with process(*serve, environment=environment) as (ours, pid):
            for line in await agents(evi, ours, Measured(pid)):
                print(line, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
