"""A soak: many chats that come, talk, break and go, for minutes; what the server's process holds must not grow.

`python -m tests.chaos.soak --minutes 10 --chats 100` prints memory, asyncio tasks and file descriptors of a real
server process after warming up, in the middle and at the end. Each chat lasts a while, then it ends and a new one takes
its place, so that what a chat holds for its life comes and goes. Status 1 if tasks or descriptors grew, or memory by a
quarter.
"""

import argparse
import asyncio
import itertools
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

import anyio
from mcp import Client
from mcp.client.stdio import stdio_client

from tests.chaos.agents import ToolFailed, call
from tests.chaos.faults import Schedule
from tests.chaos.proxy import FaultProxy, breaking
from tests.chaos.served import parameters
from tests.chaos.truth import Truth, telling

LIFE_S = 20.0
"""How long a chat lasts, on average."""
WARM_UP_S = 2 * LIFE_S


class Sample(NamedTuple):
    """What the server's process holds at one moment; `blocks` are those that Python has allocated, after a pass of its
    garbage collector: unlike the resident memory, they show what is held and not what the allocator keeps."""

    label: str
    minutes: float
    rss_mib: float
    blocks: int
    tasks: int
    descriptors: int

    def __str__(self) -> str:
        return (
            f"{self.label:>10} ({self.minutes:4.1f} min): {self.rss_mib:6.1f} MiB RSS, {self.blocks} blocks,"
            f" {self.tasks} tasks, {self.descriptors} file descriptors"
        )


class Soak:
    """The chats of one server, which come and go; `ended` counts those that have gone."""

    def __init__(self, truth: Truth, client: Client, rng: random.Random) -> None:
        self.truth, self._client, self._rng = truth, client, rng
        self._numbers = itertools.count(1)
        self.ended = self.events = self.refused = 0

    async def keep_one_chat_going(self) -> None:
        """One chat after the other: attached, followed, spoken to, over, detached."""
        while True:
            chat_id = f"chat-{next(self._numbers)}"
            self.truth.add(chat_id)
            self.truth.speak(chat_id)
            with anyio.move_on_after(self._rng.uniform(0.5, 1.5) * LIFE_S):
                await self._follow(chat_id)
            self.truth.remove(chat_id)
            with anyio.move_on_after(5):
                self.events += (await call(self._client, "get_chat", chat_id=chat_id))["event_count"]
            await call(self._client, "detach_chat", chat_id=chat_id)
            self.ended += 1

    async def _follow(self, chat_id: str) -> None:
        await call(self._client, "attach_chat", chat_id=chat_id)
        cursor = "earliest"
        while True:
            page = await call(self._client, "wait_for_events", after=cursor, chat_ids=[chat_id], limit=200)
            cursor = page["cursor"]
            if self._rng.random() < 0.2:
                try:
                    await call(self._client, "send_user_input", chat_id=chat_id, text="Go on.", wait_for_effect_s=0)
                except ToolFailed:
                    self.refused += 1
            await anyio.sleep(self._rng.uniform(0.2, 1.0))


async def soak(minutes: float, chats: int, seed: int) -> list[Sample]:
    """Runs it; the samples, which are printed as they are taken."""
    started = time.monotonic()
    async with (
        telling(Truth(seed)) as truth,
        breaking(truth.port, Schedule(seed)) as proxy,
        _server(proxy) as (
            client,
            log,
        ),
    ):
        pid = _child()
        play = Soak(truth, client, random.Random(seed))
        samples: list[Sample] = []

        async def sample(label: str, after_s: float) -> None:
            await anyio.sleep(max(0.0, started + after_s - time.monotonic()))
            samples.append(await _sample(label, (time.monotonic() - started) / 60, pid, log))
            print(samples[-1], flush=True)

        async with anyio.create_task_group() as group:
            for _ in range(chats):
                group.start_soon(play.keep_one_chat_going)
            warm = min(WARM_UP_S, minutes * 20)
            await sample("start", warm)
            await sample("middle", (warm + minutes * 60) / 2)
            await sample("end", minutes * 60)
            group.cancel_scope.cancel()
        print(
            f"{play.ended} chats came and went, {play.events} events, {proxy.done.total()} faults,"
            f" {play.refused} commands refused"
        )
    return samples


@asynccontextmanager
async def _server(proxy: FaultProxy) -> AsyncIterator[tuple[Client, TextIO]]:
    """A server process, a client of it, and what it writes to stderr."""
    with open(os.memfd_create("stderr"), "w+") as log:  # noqa: ASYNC230 - memory
        async with Client(stdio_client(parameters(proxy.base_url, EVI_MCP_LOG_EVENTS="1000"), errlog=log)) as client:
            yield client, log


def _child() -> int:
    """The process that was started; there is one only."""
    [pid] = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return int(pid)


def _rss_mib(pid: int) -> float:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


async def _sample(label: str, minutes: float, pid: int, log: TextIO) -> Sample:
    os.kill(pid, signal.SIGUSR1)
    await anyio.sleep(0.5)
    log.seek(0)
    told = [line for line in log.read().splitlines() if line.startswith("holds ")]
    rss = _rss_mib(pid)
    descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    tasks, blocks = map(int, told[-1].split()[1:])
    return Sample(label, minutes, rss, blocks, tasks, descriptors)


def problems(samples: list[Sample], chats: int) -> list[str]:
    """What grew. Tasks and descriptors follow the number of connections that stand, which faults make come and go."""
    start, _, end = samples
    found = []
    if end.rss_mib > start.rss_mib * 1.25:
        found.append(f"memory grew from {start.rss_mib:.1f} to {end.rss_mib:.1f} MiB")
    if end.blocks > start.blocks * 1.1:
        found.append(f"blocks of memory grew from {start.blocks} to {end.blocks}")
    if end.tasks > start.tasks + chats:
        found.append(f"tasks grew from {start.tasks} to {end.tasks}")
    if end.descriptors > start.descriptors + chats // 2:
        found.append(f"file descriptors grew from {start.descriptors} to {end.descriptors}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--chats", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    found = problems(asyncio.run(soak(given.minutes, given.chats, given.seed)), given.chats)
    print("\n".join(f"PROBLEM {problem}" for problem in found) or "ok")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
