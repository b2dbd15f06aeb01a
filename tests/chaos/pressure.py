"""Back-pressure: a client that stops reading, a chat that never stops, a thousand waits that are called off.

`python -m tests.chaos.pressure` prints what it cost; status 1 if memory was not bounded or an answer was wrong. How
long things took is shown and decides nothing: machines differ.
"""

import argparse
import asyncio
import random
import sys
import time
from pathlib import Path
from typing import Any

import anyio

from tests.chaos.callers import Callers, talking
from tests.chaos.flood import BUSY, QUIET, START, flooding
from tests.fake_evi import KEY
from tests.process.conftest import Process, evi_mcp

MAX_GROWTH_MIB = 192
"""What the server's process may grow by. One log is bounded at 32 Mi characters, which Python holds in some 100 MiB of
events; a known event costs some 200 bytes for as long as its chat lasts; the answers that nobody takes come on top."""
UNREAD_ANSWERS = 200
WAITS = 1000
MEAN_WAIT_S = 10.0
"""How long each of them lasts, on average, until it is called off."""


def peak_mib(pid: int) -> float:
    """The most memory that the process ever held (Linux)."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


async def stop_reading(seconds: float) -> dict[str, Any]:
    """A client over stdio asks for a lot, and reads nothing for so long, while the busy chat floods."""
    async with flooding() as base_url, evi_mcp(EVI_MCP_BASE_URL=base_url, HUME_API_KEY=KEY) as server:
        await server.initialize()
        for chat_id in (BUSY, *QUIET):
            await server.call("attach_chat", chat_id=chat_id)
        await server.request("resources/subscribe", uri=f"evi://chats/{BUSY}/events")
        before = peak_mib(server.process.pid)
        cursor = (await server.call("get_chat", chat_id=QUIET[0]))["structuredContent"]["cursor"]
        await server.call("send_user_input", chat_id=BUSY, text=START)
        asked = _ask_without_reading(server)
        await asyncio.sleep(seconds)
        answers = await _read_at_last(server, asked)
        chat = (await server.call("get_chat", chat_id=BUSY))["structuredContent"]
        page = await server.call("read_events", chat_id=BUSY, after=cursor, limit=1)
        quiet = await server.call("read_events", chat_id=QUIET[0], after=cursor, limit=200, max_chars=50_000)
        return {
            "grown_mib": peak_mib(server.process.pid) - before,
            "peak_mib": peak_mib(server.process.pid),
            "answers": answers,
            "events": chat["event_count"],
            "state": chat["state"],
            "gap": page["structuredContent"].get("gap"),
            "quiet_events": len(quiet["structuredContent"]["events"]),
        }


def _ask_without_reading(server: Process) -> set[int]:
    """Sends many calls with long answers; nobody takes these from stdout any more. The ids of the calls."""
    server.stop_reading()
    ids = set(range(10_000, 10_000 + UNREAD_ANSWERS))
    for id in ids:
        server.ask(id, "read_events", chat_id=BUSY, limit=200, max_chars=50_000)
    return ids


async def _read_at_last(server: Process, asked: set[int]) -> int:
    """Reads again; how many of the calls were answered without an error."""
    server.go_on_reading()
    left, good = set(asked), 0
    while left:
        answer = await server.read()
        if answer.get("id") in left:
            left.discard(answer["id"])
            good += "result" in answer and not answer["result"].get("isError")
    return good


async def others(seconds: float, seed: int) -> dict[str, Any]:
    """Other chats, as an agent reads them that shares the server with those that press it, before and meanwhile.

    One agent follows the busy chat, page by page. `WAITS` more wait for what never comes: each is called off after a
    random time, and waits again.
    """
    async with flooding() as base_url, evi_mcp(EVI_MCP_BASE_URL=base_url, HUME_API_KEY=KEY) as process:
        await process.initialize()
        async with talking(process) as client:
            await asyncio.gather(*(client.call("attach_chat", chat_id=chat_id) for chat_id in (BUSY, *QUIET)))
            late = {"calm": await _latencies(client, seconds)}
            await client.call("send_user_input", chat_id=BUSY, text=START)
            late["one floods"] = await _latencies(client, seconds)
            rng, called_off = random.Random(seed), list[float]()
            async with anyio.create_task_group() as group:
                group.start_soon(_poll, client)
                for number in range(WAITS):
                    wait, lasts_s = _NEVER[number % len(_NEVER)], rng.uniform(1, 2 * MEAN_WAIT_S)
                    group.start_soon(_call_off, client, wait, lasts_s, called_off)
                    await anyio.sleep(0.001)  # a thousand calls in one moment are another matter
                late["all at once"] = await _latencies(client, seconds)
                group.cancel_scope.cancel()
            events = (await client.call("get_chat", chat_id=BUSY))["event_count"]
            return {
                "late": late,
                "called_off": len(called_off),
                "events": events,
                "peak_mib": peak_mib(process.process.pid),
            }


_NEVER: tuple[dict[str, Any], ...] = (
    {"types": ["tool_error"]},
    {"until": [{"kind": "silence", "seconds": 3600}]},
    {"until": [{"kind": "turn_end"}, {"kind": "tool_call_waiting", "seconds": 1}]},
    {"chat_ids": [QUIET[0]], "until": [{"kind": "text", "contains": "nobody says this"}]},
)
"""Waits that nothing in these chats ends."""


async def _poll(client: Callers) -> None:
    """An agent that follows the busy chat, page by page."""
    cursor = "latest"
    while True:
        cursor = (await client.call("wait_for_events", after=cursor, chat_ids=[BUSY]))["cursor"]
        await anyio.sleep(0.02)  # as one who thinks; and a loop that is never idle cannot be called off


async def _call_off(client: Callers, waits_for: dict[str, Any], seconds: float, called_off: list[float]) -> None:
    """Waits for what never comes, gives up, and waits again."""
    while True:
        with anyio.move_on_after(seconds):
            await client.call("wait_for_events", **waits_for, timeout_s=50)
        called_off.append(time.monotonic())


async def _latencies(client: Callers, seconds: float) -> list[float]:
    """How late each word of the quiet chats was with the agent, in milliseconds, for so many seconds and some words."""
    late: list[float] = []
    cursor = (await client.call("get_chat", chat_id=QUIET[-1]))["cursor"]
    ends = time.monotonic() + seconds
    while time.monotonic() < ends or len(late) < 3 * len(QUIET):
        page = await client.call("wait_for_events", after=cursor, chat_ids=list(QUIET), limit=200)
        now, cursor = time.monotonic(), page["cursor"]
        late += [(now - float(event["text"])) * 1000 for event in page["events"] if event["type"] == "user_message"]
    return late[len(QUIET) :]  # the first page may hold older ones


def _quantile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else float("nan")


def problems(stdio: dict[str, Any], shared: dict[str, Any]) -> list[str]:
    """What must not be, in words."""
    found = []
    if stdio["grown_mib"] > MAX_GROWTH_MIB:
        found.append(f"memory grew by {stdio['grown_mib']:.0f} MiB")
    if stdio["answers"] != UNREAD_ANSWERS:
        found.append(f"only {stdio['answers']} of {UNREAD_ANSWERS} calls were answered when the client read again")
    if stdio["state"] != "live":
        found.append(f"the busy chat is {stdio['state']}")
    if stdio["events"] > 10_000 and stdio["gap"] != {"reason": "expired", "oldest_seq": stdio["gap"]["oldest_seq"]}:
        found.append("events were dropped and no gap says so")
    if not stdio["quiet_events"] or not all(shared["late"].values()):
        found.append("the other chats were not followed meanwhile")
    return found


def report(stdio: dict[str, Any], shared: dict[str, Any]) -> str:
    """Both in a few lines."""
    first = (
        f"client that stopped reading: peak RSS {stdio['peak_mib']:.0f} MiB (grown by {stdio['grown_mib']:.0f},"
        f" at most {MAX_GROWTH_MIB}), {stdio['events']} events of the busy chat taken in, gap {stdio['gap']},"
        f" {stdio['answers']} of {UNREAD_ANSWERS} answers read at last"
    )
    second = (
        f"others: peak RSS {shared['peak_mib']:.0f} MiB, {shared['events']} events of the busy chat taken in,"
        f" {WAITS} waits under way, called off {shared['called_off']} times"
    )
    lines = [first, second]
    calm = shared["late"]["calm"]
    for name, late in shared["late"].items():
        p50, p99 = _quantile(late, 0.5), _quantile(late, 0.99)
        ratios = f"{p50 / _quantile(calm, 0.5):.1f} and {p99 / _quantile(calm, 0.99):.1f} times the calm"
        lines.append(f"  other chats, {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, {ratios} ({len(late)} events)")
    return "\n".join(lines)


async def run(seconds: float, seed: int) -> list[str]:
    """Both, one after the other, printed; the problems."""
    stdio, shared = await stop_reading(seconds), await others(seconds, seed)
    print(report(stdio, shared))
    return problems(stdio, shared)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.pressure", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    found = asyncio.run(run(given.seconds, given.seed))
    print("\n".join(f"PROBLEM {problem}" for problem in found) or "ok")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
