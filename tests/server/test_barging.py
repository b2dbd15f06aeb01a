"""One call to step in: what the agent is told, and what goes out over a real socket."""

from typing import Any

import anyio
import pytest

from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT, Agent

pytestmark = pytest.mark.anyio

LINE = "A colleague is joining."


def types_of(commands: list[dict[str, Any]]) -> list[str]:
    return [command["type"].removesuffix("_message") for command in commands]


async def speak_it(evi: FakeEvi) -> None:
    """From now on the service speaks what it is given."""

    async def answer(chat_id: str, command: dict[str, Any]) -> None:
        if command["type"] == "assistant_input":
            await evi.push(chat_id, frames.assistant(command["text"], "m-9", from_text=True), frames.end())

    evi.on_command = answer


async def test_a_barge_in_is_one_call_with_one_receipt(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Three calls took ten seconds each way, while the caller got angrier."""
    await speak_it(evi)
    receipt = await agent.call("barge_in", chat_id=CHAT, text=LINE, unless_user_spoke_after=live)
    await evi.until(lambda: len(evi.received[CHAT]) == 3)
    assert types_of(evi.received[CHAT]) == ["pause_assistant", "assistant_input", "resume_assistant"]
    assert (receipt["command"], receipt["status"]) == ("assistant_input", "confirmed")
    assert receipt["paused"]["seq"] < receipt["seq"] < receipt["confirmed_by"] < receipt["resumed"]["seq"]
    assert (await agent.call("get_chat", chat_id=CHAT))["paused"] is False
    text = await agent.text("barge_in", chat_id=CHAT, text=LINE)
    first, second, third = text.splitlines()
    assert first.startswith("EVI was paused (event ")
    assert second.startswith("assistant_input confirmed: it was seen to speak the line in event ")
    assert third.startswith("EVI was told to go on ") and " s after the pause (event " in third


async def test_a_guarded_barge_in_is_refused_before_anything_is_heard(evi: FakeEvi, agent: Agent, live: str) -> None:
    """The user has moved on: neither silence nor a line that does not fit."""
    await evi.push(CHAT, frames.user("Never mind, I found it!", 5000))
    await agent.call("wait_for_events", after=live, types=["user_message"])
    said = await agent.error("barge_in", chat_id=CHAT, text=LINE, unless_user_spoke_after=live)
    assert '"Never mind, I found it!"' in said and not evi.received[CHAT]


async def test_a_client_that_cancels_the_call_leaves_no_mute_assistant(evi: FakeEvi, agent: Agent, live: str) -> None:
    """A client ends a call that takes longer than it likes, and forgets about it."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: agent.client.call_tool("barge_in", {"chat_id": CHAT, "text": LINE}))
            await evi.until(lambda: len(evi.received[CHAT]) == 2)
            scope.cancel()
    await evi.until(lambda: len(evi.received[CHAT]) == 3)
    assert types_of(evi.received[CHAT])[-1] == "resume_assistant"


async def test_what_stays_paused_is_said_with_its_end(evi: FakeEvi, agent: Agent, live: str) -> None:
    """An agent that wants to go on talking keeps EVI silent, and learns for how long."""
    await speak_it(evi)
    text = await agent.text("barge_in", chat_id=CHAT, text=LINE, resume_when_spoken=False)
    assert "EVI was not told to go on: `resume` ends it" in text
    assert "EVI is paused now, and resumed by itself at " in text
    await agent.call("resume", chat_id=CHAT)


async def test_a_chat_that_takes_no_pause_is_spoken_to_and_says_so(evi: FakeEvi, agent: Agent) -> None:
    """Bots of other makers say what they take."""
    await speak_it(evi)
    evi.history["other"] = [frames.metadata("other", source="custom", supports=["assistant_input"])]
    text = await agent.text("barge_in", chat_id="other", text=LINE)
    assert "EVI was not paused: this chat takes no pause_assistant_message" in text
    assert "note: other was not attached: attached for this call" in text
    assert types_of(evi.received["other"]) == ["assistant_input"]
