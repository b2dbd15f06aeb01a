"""A server process for each call, as some clients of frameworks start it: LangChain's `client.get_tools()` and
LlamaIndex's `BasicMCPClient`."""

from typing import Any

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests import frames
from tests.fake_evi import KEY, FakeEvi
from tests.harness import CHAT, text_of
from tests.process.conftest import SCRIPT

pytestmark = pytest.mark.anyio


async def once(evi: FakeEvi, tool: str, **arguments: Any) -> tuple[bool, str]:
    """Starts a server, calls the tool, and ends it; whether it failed, and its text."""
    environment = {"EVI_MCP_BASE_URL": evi.base_url, "HUME_API_KEY": KEY}
    async with Client(stdio_client(StdioServerParameters(command=SCRIPT, env=environment))) as client:
        answer = await client.call_tool(tool, arguments)
        return bool(answer.is_error), text_of(answer.content[0])


async def test_every_tool_works_in_a_process_of_its_own(evi: FakeEvi) -> None:
    """Nothing is attached when such a process begins: a tool that names an active chat attaches it, and says so."""
    evi.history[CHAT] = [frames.metadata(), frames.user("Where is it?", 100), frames.tool_call("call_1")]
    evi.chats = {CHAT: {"id": CHAT, "status": "ACTIVE"}}

    async def answer(chat_id: str, command: dict[str, Any]) -> None:
        if command["type"] == "assistant_input":
            await evi.push(chat_id, frames.assistant(command["text"], "m-1", from_text=True), frames.end())

    evi.on_command = answer
    note = f"note: {CHAT} was not attached: attached for this call"
    failed, text = await once(evi, "list_tool_calls", chat_id=CHAT)
    assert not failed and "call_1" in text and note in text
    failed, text = await once(evi, "wait_for_events", chat_ids=[CHAT], after="earliest")
    assert not failed and '"Where is it?"' in text and note in text
    failed, text = await once(evi, "answer_tool_call", chat_id=CHAT, tool_call_id="call_1", content={"city": "Lyon"})
    assert not failed and "tool_response" in text and note in text
    failed, text = await once(evi, "barge_in", chat_id=CHAT, text="It is in Lyon.")
    assert not failed and "assistant_input confirmed" in text and note in text
    assert [command["type"] for command in evi.received[CHAT]] == [
        "tool_response",
        "pause_assistant_message",
        "assistant_input",
        "resume_assistant_message",
    ]
    assert evi.received[CHAT][0]["content"] == '{"city":"Lyon"}'


async def test_a_condition_that_another_process_gave_the_cursor_for_is_refused_with_the_reason(evi: FakeEvi) -> None:
    """Nobody can tell what was said since a place in the log of a process that is gone."""
    evi.history[CHAT] = [frames.metadata(), frames.user("Where is it?", 100)]
    _, text = await once(evi, "wait_for_events", chat_ids=[CHAT], after="earliest")
    cursor = text.splitlines()[0].rpartition("cursor ")[2]
    failed, text = await once(
        evi, "send_assistant_input", chat_id=CHAT, text="In Lyon.", unless_user_spoke_after=cursor
    )
    assert failed and "a cursor of another run of this server" in text and not evi.received[CHAT]


async def test_a_process_of_its_own_that_pauses_leaves_no_mute_assistant(evi: FakeEvi) -> None:
    """It ends with the call, and with it the timer of the pause: EVI is told to go on first."""
    evi.history[CHAT] = [frames.metadata()]
    failed, text = await once(evi, "pause", chat_id=CHAT)
    assert not failed and "EVI is resumed by itself" in text
    await evi.until(lambda: len(evi.received[CHAT]) == 2)
    assert evi.received[CHAT][1]["type"] == "resume_assistant_message"
