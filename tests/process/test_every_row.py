"""Every row of the contract's sections 5 and 6, through a real stdio client of each protocol era."""

import base64
import io
import json
import sys
import wave
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types import ResourceTemplateReference

from tests import frames
from tests.fake_evi import KEY, FakeEvi
from tests.harness import CHAT, Agent, text_of

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_every_tool_resource_prompt_and_completion_works_over_stdio(evi: FakeEvi, era: str) -> None:
    """In memory much works that does not on a pipe, and the eras differ on the wire."""
    environment = {"EVI_MCP_BASE_URL": evi.base_url, "HUME_API_KEY": KEY, "EVI_MCP_LOG_LEVEL": "ERROR"}
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "evi_mcp"],
        env={**environment, "EVI_MCP_RESULTS": "both", "EVI_MCP_SECRET_LLM": "sk-0123456789"},
    )
    evi.chats[CHAT] = {"id": CHAT, "status": "ACTIVE", "start_timestamp": 1762430100123}
    evi.history[CHAT] = [
        frames.metadata(),
        frames.user("Hello?", 100),
        frames.assistant("Hi.", "m-1"),
        frames.prosody("m-1"),
        frames.audio("m-1", 0, frames.wav(b"\1\2" * 100)),
        frames.end(),
        frames.tool_call("call_1"),
    ]
    with anyio.fail_after(40):
        async with Client(stdio_client(server), mode=era) as client:
            agent = Agent(client)
            await _look(agent)
            await _act(agent, evi)
            await _read_resources(agent)
            await _prompts(agent)
            gone = await agent.call("detach_chat", chat_id=CHAT)
            assert (gone["state"], gone["reason"]) == ("ended", "detached")
            await evi.until(lambda: evi.closes[CHAT] == [1000])


async def _look(agent: Agent) -> None:
    active = await agent.call("list_chats", scope="active")
    assert [(chat["chat_id"], chat["attached"]) for chat in active["chats"]] == [(CHAT, False)]
    chat = await agent.call("attach_chat", chat_id=CHAT)
    assert chat["state"] == "live" and chat["pending_tool_calls"][0]["tool_call_id"] == "call_1"
    assert (await agent.call("list_chats"))["chats"][0]["cursor"] == f"{chat['cursor']}@{CHAT}"
    assert (await agent.call("get_chat", chat_id=CHAT))["event_count"] == chat["event_count"]
    page = await agent.call("read_events", chat_id=CHAT)
    assert [event["type"] for event in page["events"]][:2] == ["user_message", "assistant_message"]
    assert page["omitted"] == {"assistant_prosody": 1, "audio_output": 1, "chat_metadata": 1, "assistant_end": 1}
    turns = (await agent.call("get_transcript", chat_id=CHAT))["turns"]
    assert [(turn["speaker"], turn["text"]) for turn in turns] == [("user", "Hello?"), ("assistant", "Hi.")]
    voice = await agent.call("get_expression", chat_id=CHAT, top=1)
    assert voice["scores"] == {"Disappointment": {"series": [0.38], "mean": 0.38, "change": 0.0}}
    [call] = (await agent.call("list_tool_calls"))["tool_calls"]
    assert (call["chat_id"], call["status"], call["parameters"]) == (CHAT, "pending", {"number": "LY-4471"})


async def _act(agent: Agent, evi: FakeEvi) -> None:
    chat_id = {"chat_id": CHAT}

    async def answer(_: str, command: dict[str, Any]) -> None:
        match command["type"]:
            case "user_input":
                await evi.push(CHAT, frames.typed(command["text"]))
            case "assistant_input":
                await evi.push(CHAT, frames.assistant(command["text"], "m-2", from_text=True))
            case "tool_response":
                await evi.push(CHAT, frames.assistant("It is in Lyon.", "m-3"))
            case "session_settings":
                await evi.push(CHAT, frames.settings(**{k: v for k, v in command.items() if k != "type"}))

    evi.on_command = answer
    done = [
        await agent.call("answer_tool_call", **chat_id, tool_call_id="call_1", content='{"place": "Lyon"}'),
        await agent.call("whisper", **chat_id, text="Be brief."),
        await agent.call("update_session_settings", **chat_id, voice_id="v-1"),
        await agent.call("send_user_input", **chat_id, text="Is it here?"),
        await agent.call("send_assistant_input", **chat_id, text="One moment."),
        await agent.call("pause", **chat_id, resume_after_s=60),
        await agent.call("resume", **chat_id),
        await agent.call("barge_in", **chat_id, text="One moment, please."),
    ]
    types = [
        "tool_response",
        "session_settings",
        "session_settings",
        "user_input",
        "assistant_input",
        "pause_assistant_message",
        "resume_assistant_message",
        "pause_assistant_message",
        "assistant_input",
        "resume_assistant_message",
    ]
    assert [receipt["command"] for receipt in done] == [*types[:-3], "assistant_input"]
    assert [receipt["status"] for receipt in done] == [*["confirmed"] * 5, "sent", "sent", "confirmed"]
    evi.on_command = None
    review = await agent.call("review_chat", **chat_id)
    assert [event["status"] for event in review["events"] if "command" in event] == [
        *["confirmed"] * 5,
        *("sent", "sent", "sent", "confirmed", "sent"),
    ]
    secret = await agent.call("update_session_settings", **chat_id, language_model_api_key_name="LLM")
    assert secret["status"] == "sent", "of two secrets nobody can say that they are the same"
    await evi.until(lambda: len(evi.received[CHAT]) == len(types) + 1)
    assert [command["type"] for command in evi.received[CHAT]] == [*types, "session_settings"]
    assert evi.received[CHAT][-1]["language_model_api_key"] == "sk-0123456789"
    async with agent.waiting(after=secret["cursor"], until=[{"kind": "turn_end"}]) as pages:
        await anyio.sleep(0.1)
        await evi.push(CHAT, frames.user("Thanks.", 9000), frames.end())
    assert pages[0]["woken_by"] == "trigger"
    assert [event["type"] for event in pages[0]["events"]] == ["user_message"]


async def _read_resources(agent: Agent) -> None:
    listed = {str(resource.uri) for resource in (await agent.client.list_resources()).resources}
    base = f"evi://chats/{CHAT}"
    assert listed == {"evi://chats", base, f"{base}/events", f"{base}/transcript", f"{base}/tool-calls"}
    assert len((await agent.client.list_resource_templates()).resource_templates) == 5

    async def read(uri: str) -> Any:
        [content] = (await agent.client.read_resource(uri)).contents
        return content

    assert json.loads((await read("evi://chats")).text)["chats"][0]["chat_id"] == CHAT
    assert json.loads((await read(base)).text)["state"] == "live"
    page = json.loads((await read(f"{base}/events?after=earliest&limit=2")).text)
    assert len(page["events"]) == 2 and page["more"]
    assert '"Hello?"' in (await read(f"{base}/transcript")).text
    assert json.loads((await read(f"{base}/tool-calls")).text)["tool_calls"][0]["status"] == "answered"
    audio = await read(f"{base}/audio/m-1")
    with wave.open(io.BytesIO(base64.b64decode(audio.blob))) as wav:
        assert (audio.mime_type, wav.readframes(1000)) == ("audio/wav", b"\1\2" * 100)


async def _prompts(agent: Agent) -> None:
    prompts = {prompt.name for prompt in (await agent.client.list_prompts()).prompts}
    assert prompts == {"supervise_chat", "handle_tool_calls", "look_back_on_chat"}
    [message] = (await agent.client.get_prompt("supervise_chat", {"chat_id": CHAT, "goal": "Listen."})).messages
    assert CHAT in text_of(message.content)
    template = ResourceTemplateReference(type="ref/resource", uri="evi://chats/{chat_id}")
    completion = (await agent.client.complete(template, {"name": "chat_id", "value": "ch"})).completion
    assert completion.values == [CHAT]
