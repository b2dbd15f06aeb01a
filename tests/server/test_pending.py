"""A tool call that waits is named in every page: while it waits, so does a caller."""

import re
from typing import Any

import anyio
import pytest

from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT, Agent, agent_on, supervising

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("wait_for_events", {"after": "latest", "timeout_s": 0}),
        ("wait_for_events", {"after": "latest", "timeout_s": 0, "types": ["user_message"]}),
        ("wait_for_events", {"after": "latest", "timeout_s": 0, "until": [{"kind": "silence", "seconds": 600}]}),
        ("wait_for_events", {"after": "latest", "timeout_s": 0, "chat_ids": [CHAT]}),
        ("read_events", {"chat_id": CHAT, "after": "latest"}),
        ("read_events", {"chat_id": CHAT, "types": ["error"]}),
        ("get_chat", {"chat_id": CHAT}),
    ],
)
async def test_a_call_that_came_before_the_cursor_is_in_every_page(
    evi: FakeEvi, agent: Agent, live: str, tool: str, arguments: dict[str, Any]
) -> None:
    """Whatever types or triggers are asked for: who waits for something else must not leave it waiting."""
    [call] = (await agent.call(tool, **arguments))["pending_tool_calls"]
    assert (call["tool_call_id"], call["name"], call["status"]) == ("call_1", "parcel_status", "pending")
    assert re.search(r"call_1 parcel_status.*\d s", await agent.text(tool, **arguments))


async def test_a_call_is_not_named_any_more_once_it_was_answered(evi: FakeEvi, agent: Agent, live: str) -> None:
    """And its event does not ask for an answer any more."""
    assert "needs an answer" in await agent.text("read_events", chat_id=CHAT)
    await agent.call("answer_tool_call", chat_id=CHAT, tool_call_id="call_1", content="Lyon", wait_for_effect_s=0)
    page = await agent.call("wait_for_events", after="latest", timeout_s=0)
    assert "pending_tool_calls" not in page
    text = await agent.text("read_events", chat_id=CHAT)
    assert "pending" not in text and "needs an answer" not in text


async def test_a_page_that_shows_the_call_does_not_repeat_it(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Of one that has just come its event says all there is."""
    await evi.push(CHAT, frames.tool_call("call_2", "refund"))
    text = await agent.text("wait_for_events", after=live, types=["tool_call"])
    assert text.count("refund") == text.count("call_2") == 1


async def test_the_deadline_is_that_of_the_fallback(evi: FakeEvi) -> None:
    """After it the caller gets an excuse: who wants to answer has to know until when."""
    evi.history[CHAT] = [frames.metadata()]
    with anyio.fail_after(20):
        async with supervising(evi, tool_call_fallback=60.0) as server, agent_on(server) as agent:
            cursor = (await agent.call("attach_chat", chat_id=CHAT))["cursor"]
            await evi.push(CHAT, frames.tool_call("call_2"))
            page = await agent.call("wait_for_events", after=cursor, types=["tool_call"])
            [call] = page["pending_tool_calls"]
            assert 50 < call["deadline_s"] <= 60
            text = await agent.text("wait_for_events", after=page["cursor"], timeout_s=0)
            assert re.search(r"pending: call_2 parcel_status, .* s, this server answers it in (5\d|60)(\.\d)? s", text)
            await evi.push(CHAT, frames.assistant("It is in Lyon.", "m-9"))
            page = await agent.call("wait_for_events", after=page["cursor"], types=["assistant_message"])
            assert "deadline_s" not in page["pending_tool_calls"][0], "EVI has gone on: the fallback is off"


async def test_very_many_calls_leave_room_for_what_was_said(evi: FakeEvi, agent: Agent) -> None:
    """Our contract (section 4): a page keeps its size, and says how many it does not name."""
    calls = [frames.tool_call(f"call_{number:064}", "look_up" * 9) for number in range(40)]
    evi.history[CHAT] = [frames.metadata(), *calls, frames.user("Hello?", 90_000)]
    await agent.call("attach_chat", chat_id=CHAT)
    for most in (500, 2000, 50_000):
        arguments = {"chat_id": CHAT, "types": ["user_message"], "max_chars": most}
        text, page = await agent.text("read_events", **arguments), await agent.call("read_events", **arguments)
        assert len(text) <= most and '"Hello?"' in text
        named = page["pending_tool_calls"] if "pending_tool_calls" in page else []
        assert len(named) + page["more_pending"] == 40
        assert f"{page['more_pending']} more tool calls pending; list_tool_calls shows all" in text
