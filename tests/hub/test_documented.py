"""What docs/hub.md shows is what happens, and the bot of the examples is one."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from websockets.asyncio.client import ClientConnection

from tests.hub.wire import KEY, consumer, hub, lines, socket, the_rest, until

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.anyio


def matches(shown: Any, came: Any) -> bool:
    """Whether a frame is as the page shows it; `...` stands for any text."""
    if isinstance(shown, dict) and isinstance(came, dict):
        return shown.keys() == came.keys() and all(matches(shown[name], came[name]) for name in shown)
    return bool(shown == came or (shown == "..." and isinstance(came, str)))


async def next_frame(connection: ClientConnection, shown: Any) -> Any:
    """The next frame; acknowledgements may come in several steps, and are left out where none is shown."""
    while True:
        frame = json.loads(await connection.recv())
        if "ack" not in frame or frame == shown:
            return frame


async def test_the_exchange_on_the_page_takes_place() -> None:
    """Who writes a link in another language has this page alone."""
    page = (ROOT / "docs" / "hub.md").read_text("utf-8")
    found = re.search(r"```text\n(bot> .*?)```", page, re.DOTALL)
    assert found is not None
    exchange = found[1].splitlines()
    async with hub() as served, anyio.create_task_group() as group:
        connections: dict[str, ClientConnection] = {}
        learned = {"token": "", "id": ""}
        entered: list[Any] = []

        async def connect(who: str, path: str) -> None:
            entered.append(manager := socket(served.base_url, path))
            connections[who] = await manager.__aenter__()

        await connect("bot", "/link")
        for step in filter(None, exchange):
            who, text = step[:3], step[5:]
            if step[3] == ">":
                await connections[who].send(
                    text.replace('"..."', json.dumps(learned["id" if "done" in text else "token"]))
                )
            elif step[3] == "<":
                shown = json.loads(text)
                frame = await next_frame(connections[who], shown)
                assert matches(shown, frame), f"{step}\nbut what came was\n{frame}"
                learned.update({name: frame[name] for name in learned if name in frame})
            elif text.startswith("connects"):
                await connect("sup", "/chat/call-17/connect")
            elif text.startswith("is cut off"):
                connections["bot"].transport.abort()
                await connect("bot", "/link")
            else:
                said = re.fullmatch(r"is closed with (\d+): (.*)", text)
                assert said is not None, f"nobody knows how to play: {step}"
                assert (await the_rest(connections[who]))[1:] == (int(said[1]), said[2])
        for manager in entered:
            await manager.__aexit__(None, None, None)
        group.cancel_scope.cancel()


async def test_the_bot_of_the_examples_is_supervised_across_a_restart_of_the_hub() -> None:
    """It is the whole protocol in a hundred lines: if it works, so does what is made after it."""
    assert len((ROOT / "examples" / "hub_bot.py").read_text().splitlines()) <= 110
    async with hub() as first:
        port = int((first.base_url or "").rpartition(":")[2])
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "examples" / "hub_bot.py"),
            "echo-7",
            env={**os.environ, "EVI_MCP_HUB": first.base_url or "", "EVI_MCP_HUB_KEY": KEY},
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            await _dialled_in(first)
            async with consumer(first, "echo-7") as watching:
                assert await lines(watching, 1) == ["Hello, I repeat what you type."]
                await _type(watching, "user_input", text="How are you?")
                assert await lines(watching, 1) == ["You typed: How are you?"]
                await _type(watching, "pause_assistant_message")
                await _type(watching, "user_input", text="Anyone?")
                await _type(watching, "assistant_input", text="I am a colleague.")
                assert await lines(watching, 1) == ["I am a colleague."]
                await _type(watching, "resume_assistant_message")
                await _type(watching, "tool_response", tool_call_id="call_1", content="x")
                assert (await until(watching, "error"))["slug"] == "command_not_supported"
            await first.__aexit__(None, None, None)
            async with hub(port=port) as second:
                await _dialled_in(second)
                async with consumer(second, "echo-7") as watching:
                    await _type(watching, "user_input", text="Goodbye!")
                    await until(watching, "assistant_message", "You typed: Goodbye!")
                    assert (await the_rest(watching))[1:] == (1000, "the user said goodbye")
                _, said = await process.communicate()
                assert process.returncode == 0, said.decode()
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()


async def _dialled_in(served: Any) -> None:
    here = anyio.Event()
    served.on_chats_changed(here.set)
    if served.chats.get("echo-7") is None:
        await here.wait()


async def _type(connection: ClientConnection, type_: str, **fields: str) -> None:
    await connection.send(json.dumps({"type": type_, **fields}))
