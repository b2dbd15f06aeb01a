"""Frames a second through one socket into the log, beside loops that only receive, parse, or make models."""

import asyncio
import time
from contextlib import AsyncExitStack
from statistics import median

from benchmarks.processes import Process, Server, Service, evi_mcp, has_hume, receiver, service
from benchmarks.receivers import LAST
from benchmarks.report import Group, Row, absent, at_least, ratio_of
from benchmarks.traffic import PERIOD, PERIOD_WITHOUT_AUDIO

NOTE = """\
Frames a second from the first one leaving the service to the last one being reported, each side in a process of its
own, over one uncompressed socket. *Here* is the whole server: what arrives is in the log and a `wait_for_events` of a
stdio client has returned. *Beside it* are loops that receive with `websockets` (`recv()`), do the same with
`json.loads`, or receive through `AsyncControlPlaneSocketClient` of Hume's SDK; they keep nothing. The mix repeats 86
frames: 48 `audio_output` of 64 Ki characters, 16 interim and 4 final user messages, 8 assistant messages, 4
`assistant_prosody`, 4 `assistant_end`, a tool call and its answer; each final message of a voice has 48 scores. The SDK
gets fewer of them, since it is slow. Without audio the frames are a kilobyte at most, and no target is set."""


async def _server_rate(evi: Service, server: Server, frames: int, audio: bool) -> float:
    cursor = (await server.call("get_chat", chat_id="ours"))["cursor"]
    waiting = asyncio.create_task(
        server.call("wait_for_events", after=cursor, chat_ids=["ours"], types=[LAST], timeout_s=50, limit=1)
    )
    await server.request("ping")  # requests are taken in order: now it waits
    started: int = (await evi.order("burst", chat_id="ours", frames=frames, audio=audio))["started"]
    page = await waiting
    seconds = (time.monotonic_ns() - started) / 1e9
    assert page["woken_by"] == "event", page
    return frames / seconds


async def _loop_rate(evi: Service, loop: Process, kind: str, frames: int, audio: bool) -> float:
    waiting = asyncio.create_task(loop.read())
    started: int = (await evi.order("burst", chat_id=kind, frames=frames, audio=audio))["started"]
    await waiting
    return frames / ((time.monotonic_ns() - started) / 1e9)


async def run(quick: bool) -> Group:
    """Alternates the sides, round for round."""
    rounds = 3 if quick else 7
    rows: list[Row] = []
    async with AsyncExitStack() as stack:
        evi = await stack.enter_async_context(service())
        server = await stack.enter_async_context(evi_mcp(evi.base_url))
        await server.attach(["ours"])
        kinds = ["bare", "json", *(["sdk"] if has_hume() else [])]
        loops = {kind: await stack.enter_async_context(receiver(kind, evi.base_url)) for kind in kinds}
        for audio in (True,) if quick else (True, False):
            period = PERIOD if audio else PERIOD_WITHOUT_AUDIO
            frames = period * (4 if quick else 40 if audio else 100)
            rates: dict[str, list[float]] = {kind: [] for kind in ("ours", *loops)}
            for number in range(-1, rounds):  # the first round warms up
                ours = await _server_rate(evi, server, frames, audio)
                theirs = {
                    kind: await _loop_rate(evi, loop, kind, frames if kind != "sdk" else period, audio)
                    for kind, loop in loops.items()
                }
                if number >= 0:
                    for kind, rate in {"ours": ours, **theirs}.items():
                        rates[kind].append(rate)
            rows += _rows(rates, "" if audio else ", without audio", targets=audio)
    return Group("Ingest", NOTE, rows)


def _rows(rates: dict[str, list[float]], mix: str, *, targets: bool) -> list[Row]:
    ours = f"{median(rates['ours']):,.0f}/s"
    rows = []
    for kind, what, target in (
        ("bare", "the bare receive loop", 0.6),
        ("json", "the receive loop with `json.loads`", 1.0),
        ("sdk", "the SDK's parser", 40.0),
    ):
        what = f"ingest against {what}{mix}"
        if kind not in rates:
            rows.append(absent(what, f"at least {target:g}" if targets else None))
            continue
        theirs, ratio = f"{median(rates[kind]):,.0f}/s", ratio_of(rates["ours"], rates[kind])
        row = at_least(what, ours, theirs, ratio, target)
        rows.append(row if targets else Row(what, ours, theirs, row.ratio))
    return rows
