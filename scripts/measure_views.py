"""Measures what an agent reads of the scripted calls, and writes `docs/views.md`.

An agent follows each call on real sockets from attaching to the end, answers its tool calls, and reads every page that
`wait_for_events` gives it. Beside it a bare connection counts the frames that EVI sends.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from mcp import Client
from pydantic import SecretStr
from websockets.asyncio.client import connect

from evi_mcp.config import Settings
from evi_mcp.server.server import EviServer
from evi_mcp.simulator import Simulator
from evi_mcp.supervision.service import open_service

PAGE = Path(__file__).parent.parent / "docs" / "views.md"
SPEED = 10.0
UNTIL: list[dict[str, Any]] = [
    {"kind": "event", "types": ["tool_call", "error"]},
    {"kind": "expression", "score": "Anger", "at_least": 0.5},
]
STYLES = {"sleeps until something matters": UNTIL, "wakes for every event": None}


@dataclass
class Measured:
    """Characters of one call, as one agent followed it; `words` are those of the final messages."""

    call: str
    style: str
    minutes: float = 0.0
    frames: int = 0
    frames_without_audio: int = 0
    interim: int = 0
    structure: int = 0
    text: int = 0
    pages: int = 0
    words: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    structures: list[str] = field(default_factory=list)


async def measure(speed: float = SPEED) -> list[Measured]:
    """Plays every scripted call for every style of agent, all at once."""
    rows: list[Measured] = []
    async with Simulator(speed=speed, calls=(), seed=1) as simulator, anyio.create_task_group() as group:
        for style in STYLES:
            for call in simulator.scenarios:
                rows.append(Measured(call, style))
                group.start_soon(_follow, simulator, rows[-1], speed)
    return rows


async def _follow(simulator: Simulator, row: Measured, speed: float) -> None:
    settings = Settings(base_url=simulator.base_url, hume_api_key=SecretStr("any"), results="both")
    async with (
        open_service(settings) as service,
        Client(EviServer(service)) as client,
        anyio.create_task_group() as group,
    ):
        chat_id = simulator.start_call(row.call)
        group.start_soon(_count_frames, simulator, chat_id, row)
        await _supervise(client, chat_id, row, speed)
    row.minutes = _minutes(row, speed)


async def _count_frames(simulator: Simulator, chat_id: str, row: Measured) -> None:
    url = simulator.base_url.replace("http", "ws", 1) + f"/v0/evi/chat/{chat_id}/connect"
    started = anyio.current_time()
    async with connect(url, additional_headers={"X-Hume-Api-Key": "any"}, max_size=None) as socket:
        async for frame in socket:
            message = json.loads(frame)
            row.frames += len(frame)
            if message["type"] == "audio_output":
                continue
            row.frames_without_audio += len(frame)
            if message["type"] in ("user_message", "assistant_message"):
                if message.get("interim"):
                    row.interim += len(frame)
                else:
                    row.words.append(message["message"]["content"])
    row.minutes = anyio.current_time() - started


def _minutes(row: Measured, speed: float) -> float:
    return row.minutes * speed / 60


async def _supervise(client: Client, chat_id: str, row: Measured, speed: float) -> None:
    await client.call_tool("attach_chat", {"chat_id": chat_id})
    arguments: dict[str, Any] = {"after": "earliest", "chat_ids": [chat_id], "timeout_s": 50 / speed}
    if STYLES[row.style] is not None:
        arguments["until"] = STYLES[row.style]
    while True:
        result = await client.call_tool("wait_for_events", arguments)
        page: Mapping[str, Any] = result.structured_content or {}
        row.pages += 1
        row.texts.append(getattr(result.content[0], "text", ""))
        row.structures.append(json.dumps(page, ensure_ascii=False, separators=(",", ":")))
        row.text += len(row.texts[-1])
        row.structure += len(row.structures[-1])
        arguments["after"] = page["cursor"]
        for event in page["events"]:
            if event["type"] == "tool_call" and event.get("response_required"):
                answer = {"chat_id": chat_id, "tool_call_id": event["tool_call_id"], "wait_for_effect_s": 0}
                await client.call_tool("answer_tool_call", {**answer, "content": '{"status": "found", "eta": "today"}'})
        if page["woken_by"] == "chat_ended" and not page["more"]:
            return


HEAD = """\
# What an agent reads

Made by `make views`: the scripted calls of the simulator, each followed from attaching to its end on real sockets by an
agent that reads every page of `wait_for_events` and answers the tool calls. Characters per minute of conversation; in
brackets how many times less than the frames without audio. Both forms hold every final word that was spoken, and every
event that is shown (`tests/process/test_views.py`).

"""
COLUMNS = """\
| Call | Agent | Pages | Frames | Without audio | Structure | Text |
| --- | --- | --- | --- | --- | --- | --- |
"""
TAIL = """
*Sleeps until something matters*: `until` a tool call, an error, or anger of 0.5. *Wakes for every event*: no `until`;
it pays for the frame around each page. A client shows its model the text or the structure, seldom both.

The frames are those of a chat opened with `verbose_transcription`. Interim transcripts are {interim:.0%} of what is not
audio here: the simulator sends one for every two words, with scores. Hume documents neither how often they come nor
whether they have scores; without them the numbers in brackets would be {interim:.0%} smaller.
"""


def table(rows: list[Measured]) -> str:
    """The page."""
    lines = [
        f"| {row.call} | {row.style} | {row.pages} | {row.frames / row.minutes:,.0f}"
        f" | {row.frames_without_audio / row.minutes:,.0f}"
        f" | {row.structure / row.minutes:,.0f} ({row.frames_without_audio / row.structure:.1f})"
        f" | {row.text / row.minutes:,.0f} ({row.frames_without_audio / row.text:.1f}) |"
        for row in rows
    ]
    interim = sum(row.interim for row in rows) / sum(row.frames_without_audio for row in rows)
    return HEAD + COLUMNS + "\n".join(lines) + "\n" + TAIL.format(interim=interim)


if __name__ == "__main__":
    page = table(asyncio.run(measure()))
    print(page)
    if "--print" not in sys.argv:
        PAGE.write_text(page, "utf-8")
