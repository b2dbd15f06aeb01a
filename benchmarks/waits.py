"""Agents that sleep: what a thousand waits cost while nothing happens, and how soon each wakes."""

import asyncio
import time
from typing import Any

from benchmarks.processes import Server, Service, evi_mcp, service, stamps
from benchmarks.report import Group, Row, ms, p99

NOTE = """\
Five waits with triggers of all kinds on each of 200 chats, all calls of one stdio client. CPU is that of the server
while every chat is silent, in percent of one core. Then the chats speak one after the other; the latency of a wait ends
when the client has its page."""

CHATS, WAITS = 200, 5
SILENT_S = 12.0


TRIGGERS: list[list[dict[str, Any]]] = [
    [{"kind": "event", "types": ["user_message"]}],
    [{"kind": "expression", "score": "Anger", "at_least": -1.0}, {"kind": "turn_end"}],
    [{"kind": "event", "types": ["user_message", "tool_call"]}, {"kind": "silence", "seconds": 600}],
    [{"kind": "event", "types": ["user_message"]}, {"kind": "tool_call_waiting", "seconds": 60}],
    [{"kind": "text", "contains": "not to be said"}, {"kind": "expression", "score": "Joy", "at_least": -1.0}],
]
"""What the waits on each chat sleep for; the user's next words meet every one of them."""


async def _wait(server: Server, chat_id: str, number: int) -> float:
    """The latency of one wait."""
    arguments = {"after": "latest", "chat_ids": [chat_id], "timeout_s": 50, "until": TRIGGERS[number]}
    line = await server.line("tools/call", name="wait_for_events", arguments=arguments)
    now = time.monotonic_ns()
    return (now - stamps(line.decode())[-1]) / 1e9


async def _round(evi: Service, server: Server) -> tuple[float, list[float]]:
    waits = [
        asyncio.create_task(_wait(server, f"chat-{chat}", number)) for chat in range(CHATS) for number in range(WAITS)
    ]
    await server.request("ping")
    await asyncio.sleep(1)  # all of them are out, and what that cost is over
    used, started = server.cpu_s, time.monotonic()
    await asyncio.sleep(SILENT_S)
    share = (server.cpu_s - used) / (time.monotonic() - started)
    for chat in range(CHATS):
        await evi.order("say", chat_id=f"chat-{chat}")
        await asyncio.wait(waits[chat * WAITS : (chat + 1) * WAITS])
        await asyncio.sleep(0.005)
    return share, [wait.result() for wait in waits]


async def run(quick: bool) -> Group:
    """One round, since a thousand waits are sample enough."""
    async with service() as evi, evi_mcp(evi.base_url) as server:
        await server.attach([f"chat-{number}" for number in range(CHATS)])
        share, latencies = await _round(evi, server)
    worst = max(latencies)
    what = f"{CHATS * WAITS:,} waits on {CHATS} chats"
    latest = f"{ms(worst)}; {ms(p99(latencies))}"
    rows = [
        Row(f"{what}: CPU while all are silent", f"{share:.2%}", "", "", "not measurable (below 1 %)", share < 0.01),
        Row(f"{what}: the latest wake-up; p99", latest, "", "", "at most 50 ms", worst <= 0.05),
    ]
    return Group("Waits", NOTE, rows)
