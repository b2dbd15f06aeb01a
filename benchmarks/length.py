"""Short chats and long ones: nothing may cost more for what was said before, but the replay."""

import asyncio
import json
import time
from statistics import median

from benchmarks.processes import Server, Service, evi_mcp, service, stamps
from benchmarks.receivers import LAST
from benchmarks.report import Group, Row, ms, us

NOTE = """\
Chats of 10, 1,000 and 100,000 events, all of them kept as far as the log's limits allow. An append is the server's CPU
for one frame of the mix (without audio) that arrives live, from the socket into the log. A page is the round trip of a
`read_events` with the last ten events, a wait is the latency of an event as above. A reconnect is the server's CPU from
the drop to the first new event, which comes after a replay of the whole chat."""

LENGTHS = (10, 1000, 100_000)
BURST = 1000


async def _append(evi: Service, server: Server) -> float:
    """Seconds of CPU for one frame."""
    cursor = (await server.call("get_chat", chat_id="long"))["cursor"]
    waiting = asyncio.create_task(server.call("wait_for_events", after=cursor, types=[LAST], timeout_s=50, limit=1))
    await server.request("ping")
    used = server.cpu_s
    await evi.order("burst", chat_id="long", frames=BURST, audio=False)
    await waiting
    return (server.cpu_s - used) / BURST


async def _page(server: Server) -> float:
    """Seconds for a page at the end."""
    cursor = (await server.call("get_chat", chat_id="long"))["cursor"]
    epoch, seq = cursor.partition("@")[0].split("-")
    started = time.monotonic()
    arguments = {"chat_id": "long", "after": f"{epoch}-{max(0, int(seq) - 10)}"}
    await server.line("tools/call", name="read_events", arguments=arguments)
    return time.monotonic() - started


async def _wait(evi: Service, server: Server) -> float:
    """Seconds from an event to its page."""
    waiting = asyncio.create_task(server.line("tools/call", name="wait_for_events", arguments={"after": "latest"}))
    await asyncio.sleep(0.01)
    evi.write({"do": "say", "chat_id": "long"})
    line = await waiting
    now = time.monotonic_ns()
    await evi.read()
    return (now - stamps(json.dumps(json.loads(line)))[-1]) / 1e9


async def _reconnect(evi: Service, server: Server) -> float:
    """Seconds of CPU until all of the chat, and what it said meanwhile, is there again."""
    cursor = (await server.call("get_chat", chat_id="long"))["cursor"]
    before = server.cpu_s
    await evi.order("drop")
    page = await server.call("wait_for_events", after=cursor, types=[LAST], timeout_s=50)
    assert page["woken_by"] == "event", page
    return server.cpu_s - before


async def _long(length: int, rounds: int) -> tuple[float, float, float, float]:
    """Medians for a chat of this length, of each of the four."""
    pages, waits, reconnects = [], [], []
    async with service() as evi, evi_mcp(evi.base_url, EVI_MCP_LOG_EVENTS="1000000") as server:
        await evi.order("opening", frames=length)
        await server.attach(["long"])
        for _ in range(rounds):
            reconnects.append(await _reconnect(evi, server))
            pages += [await _page(server) for _ in range(20)]
            waits += [await _wait(evi, server) for _ in range(20)]
        appends = [await _append(evi, server) for _ in range(rounds)]
    return median(appends), median(pages), median(waits), median(reconnects)


async def run(quick: bool) -> Group:
    """One process for each length."""
    found = {length: await _long(length, 5) for length in LENGTHS}
    long, short = found[LENGTHS[-1]], found[LENGTHS[0]]
    rows = []
    for index, (what, shown) in enumerate((("append", us), ("page at the end", ms), ("wait", ms))):
        figures = " / ".join(shown(found[length][index]) for length in LENGTHS)
        what = f"{what}, in a chat of 10 / 1,000 / 100,000 events"
        rows.append(Row(what, figures, "", f"{long[index] / short[index]:.2f}"))
    replays = [found[length][3] for length in LENGTHS]
    each = us((replays[2] - replays[1]) / (LENGTHS[2] - LENGTHS[1]))
    rows.append(Row("reconnect, likewise; each further event", " / ".join(map(ms, replays)), each))
    return Group("Length", NOTE, rows)
