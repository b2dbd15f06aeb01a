"""From an event leaving the service to a stdio client having it, beside a trivial call and a hand-written server."""

import asyncio
import json
import time
from contextlib import AsyncExitStack
from statistics import median

from benchmarks.processes import EMPTY, PLAIN, Server, Service, evi_mcp, has_hume, server, service, stamps
from benchmarks.report import Group, Row, absent, at_most, ms, p99, ratio_of

NOTE = """\
An event carries the time at which it left the service; the latency ends when the client, which speaks JSON-RPC by hand,
has the line with the result that shows it. The trivial call is one of the only tool of an empty `MCPServer`, run as the
SDK runs it, by the same client. The plain server is what one would write by hand: it receives through Hume's SDK,
appends to a list, and has a tool that returns what is new; its client asks again as soon as it has an answer, which is
the shortest latency that polling can have, and again with a pause of 100 ms. For the tail, 100 chats say something
twice a second each, at random, and one `wait_for_events` covers them all; what comes while the client is reading the
last page waits for the next call, and counts."""

CHATS = 100
PER_SECOND = 2.0


async def _woken(evi: Service, server: Server, count: int) -> list[float]:
    """Latencies of events that come one at a time to a client that waits."""
    cursor = (await server.call("get_chat", chat_id="ours"))["cursor"]
    latencies = []
    for _ in range(count):
        waiting = asyncio.create_task(server.line("tools/call", name="wait_for_events", arguments={"after": cursor}))
        await asyncio.sleep(0.01)  # the wait is out, and everybody idle
        evi.write({"do": "say", "chat_id": "ours"})
        line = await waiting
        now = time.monotonic_ns()
        await evi.read()
        result = json.loads(line)["result"]["structuredContent"]
        cursor = result["cursor"]
        (sent,) = {stamp for event in result["events"] for stamp in stamps(event.get("text", ""))}
        latencies.append((now - sent) / 1e9)
    return latencies


async def trivial_calls(server: Server, count: int) -> list[float]:
    """Round trips of a tool that does nothing."""
    trips = []
    for _ in range(count):
        await asyncio.sleep(0.01)
        started = time.monotonic_ns()
        await server.line("tools/call", name="nothing", arguments={})
        trips.append((time.monotonic_ns() - started) / 1e9)
    return trips


async def _polled(evi: Service, server: Server, count: int, pause_s: float) -> list[float]:
    """Latencies of events that come one at a time to a client that polls."""
    latencies: list[float] = []
    after = len((await server.call("get_events", after=0))["result"])
    for number in range(count):
        asyncio.get_running_loop().call_later(
            0.01 + pause_s * number / count, evi.write, {"do": "say", "chat_id": "plain"}
        )
        new: list[int] = []
        while not new:
            line = await server.line("tools/call", name="get_events", arguments={"after": after})
            now = time.monotonic_ns()
            result = json.loads(line)["result"]["structuredContent"]["result"]
            after += len(result)
            new = [stamp for event in result for stamp in stamps(json.dumps(event))]
            await asyncio.sleep(pause_s)
        latencies += [(now - sent) / 1e9 for sent in new]
        await evi.read()
    return latencies


async def follow_all(evi: Service, server: Server, seconds: float) -> list[float]:
    """Latencies of all events of all chats, to a client that waits again as soon as it has a page."""
    # Of all chats: from a place in one, the others would be read from their attach.
    cursor = (await server.call("wait_for_events", after="latest", timeout_s=0))["cursor"]
    await evi.order("pace", per_second=PER_SECOND)
    latencies: list[float] = []
    ends = time.monotonic() + seconds
    arguments = {"limit": 200, "max_chars": 50_000}
    while time.monotonic() < ends:
        line = await server.line("tools/call", name="wait_for_events", arguments={"after": cursor, **arguments})
        now = time.monotonic_ns()
        result = json.loads(line)["result"]["structuredContent"]
        cursor = result["cursor"]
        latencies += [(now - stamp) / 1e9 for event in result["events"] for stamp in stamps(event.get("text", ""))]
    await evi.order("pace", per_second=0)
    return latencies


async def run(quick: bool) -> Group:
    """Alternates the sides, round for round."""
    rounds, count = (3, 15) if quick else (7, 100)
    woken: list[list[float]] = []
    trips: list[list[float]] = []
    busy: list[list[float]] = []
    slow: list[list[float]] = []
    async with AsyncExitStack() as stack:
        evi = await stack.enter_async_context(service())
        ours = await stack.enter_async_context(evi_mcp(evi.base_url))
        empty = await stack.enter_async_context(server(*EMPTY))
        plain = None
        if has_hume() and not quick:
            plain = await stack.enter_async_context(server(*PLAIN, EVI_MCP_BASE_URL=evi.base_url))
        await ours.attach(["ours"])
        for _ in range(rounds):
            woken.append(await _woken(evi, ours, count))
            trips.append(await trivial_calls(empty, count))
            if plain:
                busy.append(await _polled(evi, plain, count // 2, 0))
                slow.append(await _polled(evi, plain, count // 5, 0.1))
    rows = [
        _row("wake-up latency p50 over the round trip of a trivial tool call", woken, trips, 1.0),
        Row(
            "wake-up latency p99, and that of the trivial call",
            ms(median(map(p99, woken))),
            ms(median(map(p99, trips))),
        ),
    ]
    if not quick:
        for how, polled in (("without a pause", busy), ("every 100 ms", slow)):
            what = f"wake-up latency p50 over a plain server polled {how}"
            rows.append(_row(what, woken, polled) if polled else absent(what))
    rows += await _tail(2 if quick else 5, 1.5 if quick else 5.0)
    return Group("Latency", NOTE, rows)


async def _tail(rounds: int, seconds: float) -> list[Row]:
    async with service() as evi, evi_mcp(evi.base_url) as ours:
        await ours.attach([f"chat-{number}" for number in range(CHATS)])
        await follow_all(evi, ours, 1.0)
        latencies = [await follow_all(evi, ours, seconds) for _ in range(rounds)]
    over = median(p99(some) / median(some) for some in latencies)
    return [
        at_most(
            f"wake-up latency p99 over its own p50, {CHATS} chats at two events a second",
            ms(median(map(p99, latencies))),
            ms(median(map(median, latencies))),
            over,
            4,
        )
    ]


def _row(what: str, ours: list[list[float]], theirs: list[list[float]], target: float | None = None) -> Row:
    mine, others = [median(some) for some in ours], [median(some) for some in theirs]
    row = at_most(what, ms(median(mine)), ms(median(others)), ratio_of(mine, others), target or 0)
    return row if target else Row(what, row.measured, row.beside, row.ratio)
