"""From a tool call to its frame arriving at the service, beside the round trip of a trivial call."""

import asyncio
import time
from contextlib import AsyncExitStack
from statistics import median

from benchmarks.latency import trivial_calls
from benchmarks.processes import EMPTY, Server, Service, evi_mcp, server, service
from benchmarks.report import Group, Row, at_most, ms, p99, ratio_of
from benchmarks.traffic import STAMP

NOTE = """\
`send_user_input` with the time of the call as its text; the latency ends when the frame has arrived at the service.
The receipt is what the client gets for it, with `wait_for_effect_s=0`. *Beside it*: the trivial call of the section
above."""


async def _commands(evi: Service, server: Server, count: int) -> tuple[list[float], list[float]]:
    """Seconds to the service, and seconds to the receipt."""
    receipts = []
    for _ in range(count):
        await asyncio.sleep(0.01)
        started = time.monotonic_ns()
        arguments = {"chat_id": "ours", "text": f"{STAMP}{started}", "wait_for_effect_s": 0}
        await server.request("tools/call", name="send_user_input", arguments=arguments)
        receipts.append((time.monotonic_ns() - started) / 1e9)
    await asyncio.sleep(0.02)
    arrived = [latency / 1e9 for latency in (await evi.order("stats"))["latencies"]]
    assert len(arrived) == count, "a command was lost"
    return arrived, receipts


async def run(quick: bool) -> Group:
    """Alternates the sides, round for round."""
    rounds, count = (3, 15) if quick else (7, 100)
    arrived: list[list[float]] = []
    receipts: list[list[float]] = []
    trips: list[list[float]] = []
    async with AsyncExitStack() as stack:
        evi = await stack.enter_async_context(service())
        ours = await stack.enter_async_context(evi_mcp(evi.base_url))
        empty = await stack.enter_async_context(server(*EMPTY))
        await ours.attach(["ours"])
        for _ in range(rounds):
            there, back = await _commands(evi, ours, count)
            arrived.append(there)
            receipts.append(back)
            trips.append(await trivial_calls(empty, count))
    mine, others, back = ([median(some) for some in side] for side in (arrived, trips, receipts))
    trivial, tail, trivial_tail = ms(median(others)), ms(median(map(p99, arrived))), ms(median(map(p99, trips)))
    what = "command latency p50 over the round trip of a trivial tool call"
    rows = [
        at_most(what, ms(median(mine)), trivial, ratio_of(mine, others), 1.0),
        Row("command latency p99, and that of the trivial call", tail, trivial_tail),
        Row("receipt p50 over the same round trip", ms(median(back)), trivial, f"{ratio_of(back, others):.2f}"),
    ]
    return Group("Commands", NOTE, rows)
