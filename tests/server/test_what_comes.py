"""What a service should not send or do, from the wire to an agent: it is read where it can be, else the rest is read.

The frames are written by hand, so that they can be what no library sends.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from tests import frames
from tests.fake_evi import KEY
from tests.harness import CHAT, Agent, agent_on, supervising
from tests.upstream.raw_service import BINARY, TEXT, Peer, fragments, frame, serving, text

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def attached(*pieces: bytes, live: tuple[bytes, ...] = ()) -> AsyncIterator[Agent]:
    """An agent of a chat with this history, after which this is said live; the service stays."""

    async def play(peer: Peer) -> None:
        await peer.send(text(frames.metadata()), *pieces)
        if live:
            await said.wait()
            await peer.send(*live)
        await anyio.sleep_forever()

    said = anyio.Event()
    with anyio.fail_after(60):
        async with serving(play) as base_url, supervising(base_url=base_url) as server, agent_on(server) as agent:
            await agent.call("attach_chat", chat_id=CHAT)
            said.set()
            yield agent


async def events(agent: Agent, until: str) -> list[Any]:
    """What stands in the log, as soon as these words do."""
    while True:
        page = await agent.call("read_events", chat_id=CHAT, limit=200)
        if any(event.get("text") == until for event in page["events"]):
            return list(page["events"])
        await agent.call("wait_for_events", chat_ids=[CHAT], after=page["cursor"])


def seen(found: list[Any]) -> list[str]:
    return [
        event.get("text") or event["type"] for event in found if event["type"] not in ("chat_metadata", "chat_state")
    ]


BEFORE, AFTER = text(frames.user("before", 1000)), text(frames.user("after", 5000))
HUGE = frames.user("x" * 20 * 2**20, 3000).encode()


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(
            lambda: [frame(TEXT, b'{"type": "user_message", "message": {"content": "caf\xe9"}}')], id="bad byte"
        ),
        pytest.param(lambda: [frame(TEXT, HUGE)], id="20 MiB"),
        pytest.param(lambda: fragments(HUGE, 4096), id="20 MiB in 5,000 fragments"),
        pytest.param(lambda: [frame(BINARY, b"\xff\x00")], id="binary"),
        pytest.param(lambda: [text("[" * 10**6)], id="nesting"),
    ],
)
async def test_a_frame_that_cannot_be_read_is_a_fault_and_the_rest_is_read(odd: Callable[[], Any]) -> None:
    """In the history: each replay died at it, so that the chat could never be attached to."""
    async with attached(BEFORE, *odd(), AFTER) as agent:
        assert seen(await events(agent, "after")) == ["before", "protocol_fault", "after"]
        chat = await agent.call("get_chat", chat_id=CHAT)
        assert (chat["state"], chat["reconnects"]) == ("live", 0)


async def test_a_frame_that_is_too_long_is_one_fault_however_often_it_is_replayed() -> None:
    """It has no identity but its digest, and is not kept."""
    connections = 0

    async def play(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        await peer.send(text(frames.metadata()), BEFORE, *fragments(HUGE, 2**20 * connections), AFTER)
        if connections == 1:
            await cut.wait()
        else:
            await peer.send(text(frames.user("missed", 9000)))
            await anyio.sleep_forever()

    cut = anyio.Event()
    with anyio.fail_after(60):
        async with serving(play) as base_url, supervising(base_url=base_url) as server, agent_on(server) as agent:
            await agent.call("attach_chat", chat_id=CHAT)
            await events(agent, "after")
            cut.set()
            assert seen(await events(agent, "missed")) == ["before", "protocol_fault", "after", "missed"]


async def test_binary_frames_and_byte_order_marks_are_read_like_text() -> None:
    """As faults, all speech would be gone."""
    binary, marked, both = (frames.user(words, at) for at, words in enumerate(("binary", "marked", "both"), 2))
    live = (frame(BINARY, binary.encode()), text(f"\ufeff{marked}"), frame(BINARY, f"\ufeff{both}".encode()), AFTER)
    async with attached(BEFORE, live=live) as agent:
        assert seen(await events(agent, "after")) == ["before", "binary", "marked", "both", "after"]


async def test_a_secret_in_a_binary_frame_is_masked() -> None:
    """What is read like text is searched like text."""
    async with attached(frame(BINARY, frames.user(f"my key is {KEY}", 1).encode()), AFTER) as agent:
        assert seen(await events(agent, "after"))[0] == "my key is [redacted]"


async def test_values_of_other_json_types_are_shown_as_their_json_text() -> None:
    """They vanished: an agent was asked to answer a call without parameters."""
    call = json.loads(frames.tool_call()) | {"tool_call_id": 7, "parameters": {"n": "A"}}
    answer = json.loads(frames.tool_response()) | {"tool_call_id": 7, "content": {"place": "Lyon"}}
    speech = json.loads(frames.user("", 3000)) | {"message": {"role": "user", "content": ["what", "now?"]}}
    async with attached(BEFORE, *(text(json.dumps(odd)) for odd in (call, answer, speech)), AFTER) as agent:
        _, asked, answered, said, *_ = await events(agent, "after")
        assert (asked["tool_call_id"], asked["parameters"]) == ("7", '{"n":"A"}')
        assert (answered["tool_call_id"], answered["content"]) == ("7", '{"place":"Lyon"}')
        assert said["text"] == '["what","now?"]'


async def test_types_of_ours_are_marked_as_the_services() -> None:
    """An agent would take the chat for ended, or a line for another agent's."""
    fake = [text(frames.frame(kind, state="ended", command="pause")) for kind in ("chat_state", "command")]
    async with attached(BEFORE, *fake, AFTER) as agent:
        found = await events(agent, "after")
        assert seen(found) == ["before", "service:chat_state", "service:command", "after"]
        assert not any(
            "state" in event or "command" in event for event in found if event["type"].startswith("service:")
        )
        assert (await agent.call("get_chat", chat_id=CHAT))["state"] == "live"


async def test_a_builtin_tool_without_response_required_waits_for_nobody() -> None:
    """Taken for a function, its call is answered twice: by EVI, and by an agent or the fallback."""
    call = text('{"type": "tool_call", "tool_call_id": "t", "name": "web_search", "tool_type": "builtin"}')
    async with attached(BEFORE, live=(call, AFTER)) as agent:
        await events(agent, "after")
        assert (await agent.call("list_tool_calls", chat_id=CHAT))["tool_calls"] == []
        assert "is a built-in that EVI answers itself" in await agent.error(
            "answer_tool_call", chat_id=CHAT, tool_call_id="t", content="x"
        )
