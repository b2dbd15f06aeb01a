"""A thousand chats through the hub inside `serve`, beside a thousand upstream sockets: `python -m benchmarks.hub`.

The sides take turns in one run, with the same frames at the same pace and the same agents. On one side the server dials
a service that does nothing but send; on the other, bots dial in to the server, which also keeps their histories and
acknowledges what they say. Not a part of `make bench`.
"""

import argparse
import asyncio
import heapq
import itertools
import json
import random
import sys
import time
from contextlib import AsyncExitStack
from statistics import median
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks import report, traffic
from benchmarks.processes import EVI_MCP, KEY, Server, Service, evi_mcp, running, server, service
from benchmarks.scale import agents, ids
from tests.link.bots.call import free_port

CHATS = 1000
ROUNDS, SECONDS = 5, 6.0
AT_ONCE = 50
"""Bots that dial in at the same time."""


class Bots:
    """Bots on the link, by hand; they say what the service of the other side says."""

    def __init__(self, chats: int) -> None:
        self._chats = chats
        self._connections: list[ClientConnection] = []
        self._written: list[int] = []
        self._numbers = itertools.count(1)
        self._pacing: asyncio.Task[None] | None = None
        self._reading: set[asyncio.Task[None]] = set()

    async def dial(self, uri: str) -> None:
        """Every bot dials in."""
        room = asyncio.Semaphore(AT_ONCE)

        async def one(chat_id: str) -> ClientConnection:
            async with room:
                connection = await connect(
                    uri, additional_headers={"X-Hume-Api-Key": KEY}, compression=None, ping_interval=None
                )
                hello = {"type": "hello", "protocol": 1, "chat_id": chat_id, "source": "benchmark"}
                await connection.send(json.dumps(hello))
                assert json.loads(await connection.recv())["type"] == "welcome"
                return connection

        self._connections = await asyncio.gather(*map(one, ids(self._chats)))
        self._written = [0] * self._chats
        self._reading = {asyncio.create_task(_read(connection)) for connection in self._connections}

    async def pace(self, per_second: float) -> None:
        """From now on every bot says something so many times a second, each in a rhythm of its own; 0 ends it."""
        if self._pacing is not None:
            self._pacing.cancel()
            self._pacing = None
        if per_second:
            self._pacing = asyncio.create_task(self._pace(1 / per_second))

    async def _pace(self, period: float) -> None:
        start, numbers = time.monotonic(), random.Random(3)
        due = [(start + numbers.random() * period, bot) for bot in range(self._chats)]
        heapq.heapify(due)
        while True:
            at, bot = due[0]
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            heapq.heapreplace(due, (at + period * (0.5 + numbers.random()), bot))
            self._written[bot] += 1
            said = traffic.said(f"{traffic.STAMP}{time.monotonic_ns()}", next(self._numbers))
            await self._connections[bot].send(f'{{"n": {self._written[bot]}, "message": {said}}}')


async def _read(connection: ClientConnection) -> None:
    try:
        async for _ in connection:
            pass
    except ConnectionClosed:
        pass


async def be_bots(uri: str, chats: int) -> None:
    """The bots' process: dials in, says so, and obeys orders until stdin ends."""
    bots = Bots(chats)
    await bots.dial(uri)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    print(json.dumps({"dialled": chats}), flush=True)
    while line := await orders.readline():
        order: dict[str, Any] = json.loads(line)
        await bots.pace(order["per_second"])
        print("{}", flush=True)


async def measure(chats: int, rounds: int, seconds: float) -> list[report.Row]:
    """The rows: CPU and wake-ups, each side by side."""
    address = f"127.0.0.1:{free_port()}"
    async with AsyncExitStack() as stack:
        evi = await stack.enter_async_context(service())
        plain = await stack.enter_async_context(evi_mcp(evi.base_url))
        hub = await stack.enter_async_context(
            server(
                *EVI_MCP,
                *("--hub", address),
                EVI_MCP_HUB_KEYS=KEY,
                EVI_MCP_LOG_LEVEL="WARNING",
                EVI_MCP_RESULTS="both",
            )
        )
        dialling = running(
            sys.executable, "-m", "benchmarks.hub", *("--bots", f"ws://{address}/v0/evi/link", "--chats", str(chats))
        )
        bots = Service(await stack.enter_async_context(dialling))
        await bots.read()
        sides: list[tuple[Service, Server]] = [(bots, hub), (evi, plain)]
        found: list[list[tuple[list[float], float]]] = [[], []]
        await evi.order("opening", frames=10)
        for speaker, listener in sides:
            await listener.attach(ids(chats))
            await agents(speaker, listener, chats, 1.0)  # to warm up
        for _ in range(rounds):
            for side, (speaker, listener) in enumerate(sides):
                found[side].append(await agents(speaker, listener, chats, seconds))
        memory = [listener.resident_kib / 1024 for _, listener in sides]
    through, beside = ([share for _, share in side] for side in found)
    tails = [[report.p99(latencies) for latencies, _ in side] for side in found]
    middles = [[median(latencies) for latencies, _ in side] for side in found]
    what = f"{chats:,} chats through the hub, over as many upstream sockets"
    return [
        row(f"{what}: CPU of the server", through, beside, lambda share: f"{share:.1%}"),
        row(f"{what}: wake-up p50", middles[0], middles[1], report.ms),
        row(f"{what}: wake-up p99", tails[0], tails[1], report.ms),
        row(f"{what}: resident memory at the end", memory[:1], memory[1:], lambda mib: f"{mib:.0f} MiB"),
    ]


def row(what: str, ours: list[float], theirs: list[float], shown: Any) -> report.Row:
    """Medians of the rounds, and the median of the ratios."""
    return report.Row(what, shown(median(ours)), shown(median(theirs)), f"{report.ratio_of(ours, theirs):.2f}")


def main() -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hub", description=__doc__)
    parser.add_argument("--bots", metavar="URI", help="be the bots")
    parser.add_argument("--chats", type=int, default=CHATS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    if options.bots:
        asyncio.run(be_bots(options.bots, options.chats))
        return
    print(f"{report.machine()}; {report.versions()}\n", flush=True)
    print(report.table(asyncio.run(measure(options.chats, options.rounds, options.seconds))))


if __name__ == "__main__":
    main()
