"""`python -m tests.chaos.hub --bots 200 --seconds S`: a hub that is killed, links that are cut, bots that die.

Status 1 if a supervisor's log of any chat is not what its bot said: each thing once, in order. A bot that was killed
takes along what it had not sent yet; of its chat the log must be the beginning.
"""

import argparse
import asyncio
import random
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import anyio
from mcp import Client

from evi_mcp.supervision.following import Pace
from tests.chaos.agents import Follower, call
from tests.chaos.bots import END, HUSHED
from tests.chaos.cutting import CuttingProxy, cutting
from tests.fake_evi import KEY
from tests.harness import supervising
from tests.process.conftest import Process, evi_mcp

PROCESSES = 4
SETTLE_S = 60.0
"""How long it may take until everything is with everybody once nothing breaks any more: the longest wait of a link
before it dials again is 30 s."""
HUB_AWAY_S = 1.0


@dataclass
class Counts:
    """What a run counted, over all chats."""

    seed: int
    bots: int = 0
    said: int = 0
    logged: int = 0
    lost: int = 0
    doubled: int = 0
    invented: int = 0
    out_of_order: int = 0
    died_with_its_bot: int = 0
    """Said by a bot that was killed before the hub had it."""
    gaps: int = 0
    reconnects: int = 0
    hub_kills: int = 0
    bots_killed: int = 0
    links_cut: int = 0
    problems: list[str] = field(default_factory=list)

    def compare(self, chat_id: str, said: Sequence[str], logged: Sequence[str], *, killed: bool) -> None:
        """Adds one chat."""
        self.bots += 1
        self.said += len(said)
        self.logged += len(logged)
        spoken, read = Counter(said), Counter(logged)
        if killed and list(logged) == list(said[: len(logged)]):
            self.died_with_its_bot += len(said) - len(logged)
            return
        if list(logged) == list(said):
            return
        self.lost += (spoken - read).total()
        self.doubled += sum((read - spoken)[one] for one in spoken)
        self.invented += sum(count for one, count in (read - spoken).items() if one not in spoken)
        self.out_of_order += spoken == read
        at = next((n for n, pair in enumerate(zip(said, logged, strict=False)) if pair[0] != pair[1]), -1)
        self.problems.append(f"{chat_id}: said {said[at - 1 : at + 4]}, logged {logged[at - 1 : at + 4]} at {at}")

    def __str__(self) -> str:
        counted = ", ".join(f"{one.name.replace('_', ' ')} {getattr(self, one.name)}" for one in fields(self)[1:-1])
        return f"hub, seed {self.seed}: {'FAILED' if self.problems else 'ok'}; {counted}"


class Hub:
    """`evi-mcp hub` as a process that can be killed, and started again on its port."""

    def __init__(self) -> None:
        self.port = 0
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        settings = {"EVI_MCP_HUB_KEYS": KEY, "EVI_MCP_LOG_LEVEL": "ERROR"}
        self._process: Process = await self._stack.enter_async_context(
            evi_mcp("hub", "--port", str(self.port), environment=settings, limit_s=None)
        )
        assert self._process.process.stdout is not None
        async with asyncio.timeout(30):
            url = (await self._process.process.stdout.readline()).decode().strip()
        self.port = int(url.rpartition(":")[2])

    async def kill(self) -> None:
        """SIGKILL."""
        await self._stack.aclose()


async def run(seed: int, bots: int, seconds: float) -> Counts:
    """Lets things break for so many seconds, then nothing any more, and compares."""
    rng = random.Random(seed)
    chat_ids = [f"bot-{number:03}" for number in range(1, bots + 1)]
    hub, counts = Hub(), Counts(seed)
    await hub.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            async with (
                cutting(hub.port, rng) as proxy,
                _bots(proxy.base_url, Path(folder), chat_ids) as processes,
                supervising(base_url=f"http://127.0.0.1:{hub.port}", pace=Pace()) as server,
                Client(server) as client,
            ):
                follower = Follower(client)
                await _attach(client, chat_ids)
                async with anyio.create_task_group() as group:
                    group.start_soon(follower.follow, rng)
                    killed = await _break(hub, proxy, processes, seconds, counts)
                    group.cancel_scope.cancel()
                await _settle(follower, processes, killed, Path(folder))
                counts.links_cut, counts.gaps = proxy.cuts, len(follower.gaps)
                for chat_id in chat_ids:
                    counts.reconnects += (await call(client, "get_chat", chat_id=chat_id))["reconnects"]
                    said = (Path(folder) / chat_id).read_text().splitlines()
                    counts.compare(chat_id, said, _logged(follower.events[chat_id]), killed=chat_id in killed)
    finally:
        await hub.kill()
    return counts


@asynccontextmanager
async def _bots(hub: str, folder: Path, chat_ids: list[str]) -> AsyncIterator[dict[asyncio.subprocess.Process, Any]]:
    """Processes, and the chats of each."""
    processes: dict[asyncio.subprocess.Process, Any] = {}
    try:
        for start in range(PROCESSES):
            mine = chat_ids[start::PROCESSES]
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.chaos.bots", hub, str(folder), *mine),
                *("--pace", str(max(0.3, len(chat_ids) / 200))),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            processes[process] = mine
        yield processes
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            process._transport.close()  # type: ignore[attr-defined]  # else a pipe is left that nobody closed
            await process.wait()


async def _attach(client: Client, chat_ids: list[str]) -> None:
    """Attaches to all of them, and returns once each has dialled in."""

    async def attach(chat_id: str) -> None:
        await call(client, "attach_chat", chat_id=chat_id)
        while (await call(client, "get_chat", chat_id=chat_id))["state"] != "live":  # noqa: ASYNC110
            await anyio.sleep(0.2)  # a wait for each of so many would be more work than this

    with anyio.fail_after(SETTLE_S):
        async with anyio.create_task_group() as group:
            for chat_id in chat_ids:
                group.start_soon(attach, chat_id)


async def _break(
    hub: Hub, proxy: CuttingProxy, processes: dict[asyncio.subprocess.Process, Any], seconds: float, counts: Counts
) -> set[str]:
    """The faults, one after the other; the chats whose bots were killed. Links are cut all the time."""
    await anyio.sleep(seconds / 4)
    for _ in range(2):
        await hub.kill()
        counts.hub_kills += 1
        await anyio.sleep(HUB_AWAY_S)
        await hub.start()
        await anyio.sleep(seconds / 4)
    await proxy.away(min(10.0, seconds / 4))
    victim = next(iter(processes))
    victim.kill()
    await victim.wait()
    counts.bots_killed = len(processes[victim])
    await anyio.sleep(seconds / 4)
    proxy.calm = True
    return set(processes[victim])


async def _settle(
    follower: Follower, processes: dict[asyncio.subprocess.Process, Any], killed: set[str], folder: Path
) -> None:
    """Silences the bots, and reads until all that they said is there, or nothing comes any more."""
    with anyio.fail_after(SETTLE_S):
        for process, chat_ids in processes.items():
            if not killed.intersection(chat_ids):
                assert process.stdin is not None and process.stdout is not None
                process.stdin.write(b"\n")
                await process.stdin.drain()
                assert (await process.stdout.readline()).decode().strip() == HUSHED
    chat_ids = [chat_id for mine in processes.values() for chat_id in mine if chat_id not in killed]
    said = {chat_id: len((folder / chat_id).read_text().splitlines()) for chat_id in chat_ids}
    with anyio.move_on_after(SETTLE_S):
        while any(len(_logged(follower.events[chat_id])) < count for chat_id, count in said.items()):
            await follower.read("wait_for_events", timeout_s=5)
    await follower.catch_up()


def _logged(events: Sequence[Any]) -> list[str]:
    """What a supervisor has read, in the words of the bots' accounts."""
    said = []
    for event in events:
        match event["type"]:
            case "user_message" | "assistant_message":
                said.append(event["text"])
            case "tool_call":
                said.append(event["tool_call_id"])
            case "assistant_end":
                said.append(END)
            case "messages_dropped" | "history_truncated":
                said.append(event["type"])
    return said


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.hub", description=__doc__)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--bots", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30.0, help="for which things break")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else secrets.randbelow(10**6)
    counts = asyncio.run(run(seed, given.bots, given.seconds))
    for problem in counts.problems[:20]:
        print(f"PROBLEM {problem}")
    print(counts)
    return 1 if counts.problems else 0


if __name__ == "__main__":
    sys.exit(main())
