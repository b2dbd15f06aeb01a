"""What the server over HTTP adds to a call, beside an empty server of the SDK: `python -m benchmarks.http`.

Both are real processes; one client by hand, which keeps its connection, so that what it costs is nearly the same for
both. Not a part of `make bench`.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx2

MODERN, HANDSHAKE = "2026-07-28", "2025-11-25"
ACCEPT = "application/json, text/event-stream"
CALLS, IN_FLIGHT, WAITS = 1000, 16, 500
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
}


@asynccontextmanager
async def process(*command: str) -> AsyncIterator[tuple[str, int]]:
    """A server whose first line is its URL; that, and its process id."""
    started = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
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
    return {"json": {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, "headers": headers}


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
        asked = request(tool, {})
        if handshake:
            asked["headers"] = await session(http, url)
        trips = []
        for _ in range(CALLS):
            began = time.perf_counter()
            answer = await http.post(url, **asked)
            trips.append((time.perf_counter() - began) * 1000)
            assert answer.status_code == 200, answer.text

        async def caller() -> None:
            for _ in range(CALLS // IN_FLIGHT):
                await http.post(url, **asked)

        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
        return median(trips), CALLS / (time.perf_counter() - began)


def resident(pid: int) -> float:
    """MiB of memory that a process has (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def memory(url: str, pid: int) -> tuple[float, float]:
    """KiB of a handshake session, and of a wait that is parked."""
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(timeout=60, limits=limits) as http:
        chats = json.loads((await http.post(url, **request("list_chats", {"scope": "active"}))).text)
        chat_id = chats["result"]["structuredContent"]["chats"][0]["chat_id"]
        attach = request("attach_chat", {"chat_id": chat_id})
        attach["headers"]["Mcp-Param-Chat-Id"] = chat_id
        await http.post(url, **attach)
        before = resident(pid)
        for _ in range(WAITS):
            await session(http, url)
        sessions = (resident(pid) - before) * 1024 / WAITS
        before = resident(pid)
        wait = request("wait_for_events", {"timeout_s": 20, "types": ["error"]})
        parked = [asyncio.create_task(http.post(url, **wait)) for _ in range(WAITS)]
        await asyncio.sleep(10)
        waits = (resident(pid) - before) * 1024 / WAITS
        await asyncio.gather(*parked)
        return sessions, waits


async def main(python: Sequence[str] = (sys.executable, "-m")) -> None:
    """Prints the table."""
    print("| Server | one at a time | 16 in flight |\n| --- | --- | --- |")
    async with process(*python, "benchmarks.empty_server", "http") as (empty, _):
        async with process(*python, "evi_mcp", "serve", "--http", "127.0.0.1:0", "--simulate", "--results", "both") as (
            ours,
            pid,
        ):
            for name, url, tool in (("empty server of the SDK", empty, "nothing"), ("evi-mcp", ours, "list_chats")):
                for handshake in (False, True):
                    one, many = await round_trips(url, tool, handshake=handshake)
                    era = HANDSHAKE if handshake else MODERN
                    print(f"| {name}, {era}, `{tool}` | {one:.2f} ms | {many:.0f} per s |")
            sessions, waits = await memory(ours, pid)
            print(f"\nmemory: {sessions:.0f} KiB a handshake session, {waits:.0f} KiB a parked wait")


if __name__ == "__main__":
    asyncio.run(main())
