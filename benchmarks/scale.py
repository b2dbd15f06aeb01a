"""Many chats in one process: memory, CPU, wake-ups, attaching, and coming back after everything dropped."""

import asyncio
import json
import time
from statistics import median

from benchmarks.latency import PER_SECOND, follow_all
from benchmarks.processes import Server, Service, evi_mcp, service, stamps
from benchmarks.report import Group, Row, ms, p99

NOTE = """\
Every chat is a socket of its own, and says something with 48 scores twice a second, at random. Ten agents wait, each
for one chat; the latency is as above, the CPU is that of the server's process in percent of one core. Then one agent
reads every event of every chat, asking again as soon as it has a page. The p99 is that of all rounds together. All
chats are attached by as many calls at once, and have a history of 10 frames; a handshake takes 50 ms at the service.
After a drop the chats are live again when each has said so in a `chat_state`. Memory is what 200 further chats with a
history of 500 frames (the mix without audio) add to the process, divided by 200."""

AGENTS = 10
MANY = 1000


def ids(count: int, first: int = 0) -> list[str]:
    """The ids of so many chats."""
    return [f"chat-{number}" for number in range(first, first + count)]


async def agents(evi: Service, server: Server, chats: int, seconds: float) -> tuple[list[float], float]:
    """Wake-up latencies of agents that wait for one chat each; and the share of one core that the server used."""
    latencies: list[float] = []
    ends = time.monotonic() + seconds

    async def agent(chat_id: str) -> None:
        cursor = (await server.call("read_events", chat_id=chat_id, after="latest"))["cursor"]
        while time.monotonic() < ends:
            arguments = {"after": cursor, "chat_ids": [chat_id]}
            line = await server.line("tools/call", name="wait_for_events", arguments=arguments)
            now = time.monotonic_ns()
            result = json.loads(line)["result"]["structuredContent"]
            cursor = result["cursor"]
            latencies.extend((now - at) / 1e9 for event in result["events"] for at in stamps(event.get("text", "")))

    await evi.order("pace", per_second=PER_SECOND)
    used, started = server.cpu_s, time.monotonic()
    async with asyncio.TaskGroup() as group:
        for chat_id in ids(min(AGENTS, chats)):
            group.create_task(agent(chat_id))
    share = (server.cpu_s - used) / (time.monotonic() - started)
    await evi.order("pace", per_second=0)
    return latencies, share


async def _reads_all(evi: Service, server: Server, seconds: float) -> tuple[list[float], float]:
    used, started = server.cpu_s, time.monotonic()
    latencies = await follow_all(evi, server, seconds)
    return latencies, (server.cpu_s - used) / (time.monotonic() - started)


async def _back_after_drop(evi: Service, server: Server, chats: int) -> tuple[float, int]:
    """Seconds until all chats are live again, and the most handshakes under way at once."""
    cursor = (await server.call("wait_for_events", after="latest", timeout_s=0))["cursor"]  # of all chats
    dropped = (await evi.order("drop"))["at"]
    back: set[str] = set()
    while len(back) < chats:
        arguments = {"after": cursor, "types": ["chat_state"], "limit": 200, "max_chars": 50_000}
        page = await server.call("wait_for_events", **arguments)
        cursor = page["cursor"]
        for event in page["events"]:
            if event["state"] == "live":
                back.add(event.get("chat_id", "chat-0"))
    seconds = (time.monotonic_ns() - dropped) / 1e9
    return seconds, int((await evi.order("stats"))["most_handshakes"])


async def _many(chats: int, rounds: int, seconds: float) -> tuple[list[Row], Row | None]:
    """The figures of so many chats; the second are the rows with targets, where they have them."""
    async with service() as evi, evi_mcp(evi.base_url) as server:
        await evi.order("opening", frames=10)
        started = time.monotonic()
        await server.attach(ids(chats))
        attached_s = time.monotonic() - started
        handshakes = (await evi.order("stats"))["most_handshakes"]
        await agents(evi, server, chats, 1.0)
        quiet = [await agents(evi, server, chats, seconds * 2) for _ in range(rounds)]
        reading = [await _reads_all(evi, server, seconds) for _ in range(rounds)]
        back = [await _back_after_drop(evi, server, chats) for _ in range(rounds)]
    cpu, tail = median(share for _, share in quiet), p99([latency for some, _ in quiet for latency in some])
    all_cpu, all_tail = median(share for _, share in reading), p99([latency for some, _ in reading for latency in some])
    back_s, most = median(took for took, _ in back), max(handshakes, *(count for _, count in back))
    title = f"{chats:,} chat{'s' if chats > 1 else ''}"
    rows = [
        Row(f"{title}: CPU; wake-up p99", f"{cpu:.1%}; {ms(tail)}"),
        Row(f"{title}, an agent that reads all: CPU; wake-up p99", f"{all_cpu:.1%}; {ms(all_tail)}"),
        Row(f"{title}: time to attach all; live again after a drop", f"{attached_s:.2f} s; {back_s:.2f} s"),
    ]
    if chats != MANY:
        return rows, None
    load = "CPU at two events a second each; wake-up p99"
    fine = cpu <= 0.4 and tail <= 0.05
    rows[0] = Row(f"{title}: {load}", f"{cpu:.1%}; {ms(tail)}", "", "", "at most 40 %; at most 50 ms", fine)
    met = back_s < 15 and most <= 100
    measured = f"{back_s:.2f} s; {most} handshakes"
    return rows, Row(f"{title} live again; handshakes at once", measured, "", "", "under 15 s; at most 100", met)


async def _memory(rounds: int) -> Row:
    """What a further chat adds, in fresh processes."""
    added: list[float] = []
    for _ in range(rounds):
        async with service() as evi, evi_mcp(evi.base_url) as server:
            await evi.order("opening", frames=500)
            await server.attach(ids(20))
            before = server.resident_kib
            await server.attach(ids(200, 20))
            added.append((server.resident_kib - before) / 200)
    each = median(added)
    what = "resident memory for each further attached chat, 500 events each"
    return Row(what, f"{each:.0f} KiB", "", "", "at most 400 KiB", each <= 400)


async def run(quick: bool) -> Group:
    """One process for each number of chats."""
    rows: list[Row] = []
    for chats in (1, 10, 100, MANY):
        some, last = await _many(chats, 5, 3.0)
        rows += [*some, *([last] if last else [])]
    rows.append(await _memory(5))
    return Group("Scale", NOTE, rows)
