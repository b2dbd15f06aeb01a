"""What an operator finds in the audit log of a server that agents use."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp_types import Implementation
from pydantic import SecretStr

from tests import frames
from tests.audit.disks import records
from tests.fake_evi import KEY, FakeEvi
from tests.harness import CHAT, agent_on, supervising

pytestmark = pytest.mark.anyio

SECRET = "sk-live-0123456789"


async def test_what_was_refused_before_it_was_a_command_is_on_record(evi: FakeEvi, tmp_path: Path) -> None:
    """Who audits wants to see what was tried: above the level, outside the allow-list, and what made no sense."""
    evi.history[CHAT] = [frames.metadata()]
    path = tmp_path / "audit.jsonl"
    settings: dict[str, Any] = {"access": "coach", "allowed_chats": CHAT, "audit_log": str(path)}
    async with supervising(evi, **settings) as server, agent_on(server) as agent:
        await agent.call("attach_chat", chat_id=CHAT)
        await agent.error("send_user_input", chat_id=CHAT, text="Hello")
        await agent.error("answer_tool_call", chat_id="chat-2", tool_call_id="t", content="x")
        await agent.error("answer_tool_call", chat_id=CHAT, tool_call_id="t", content="x")
        await agent.error("answer_tool_call", chat_id=CHAT)
        await agent.error("update_session_settings", chat_id=CHAT, language_model_api_key=SECRET)
        for tool in ("get_chat", "no_such_tool", "read_events", "attach_chat"):  # none of them a command
            await agent.error(tool, chat_id="chat-2")
    found = records(path)
    assert [record["type"] for record in found] == ["opened", *["refused"] * 5, "closed"]
    assert (found[0]["base_url"], found[0]["access"]) == (evi.base_url, "coach")
    assert [(record["tool"], record["error"]) for record in found[1:-1]] == [
        ("send_user_input", "ToolNotAllowed"),
        ("answer_tool_call", "ChatNotAllowed"),
        ("answer_tool_call", "UnknownToolCall"),
        ("answer_tool_call", "ValidationError"),
        ("update_session_settings", "InvalidArgument"),
    ]
    assert found[1]["arguments"] == {"chat_id": CHAT, "text": "Hello"} and found[2]["chat_id"] == "chat-2"
    assert SECRET not in json.dumps(found)


async def test_each_command_is_on_record_once_with_its_client(evi: FakeEvi, tmp_path: Path) -> None:
    """Several clients on one server, at once: what the service received is what is on record, by whom it was sent."""
    path = tmp_path / "audit.jsonl"
    evi.history[CHAT] = [frames.metadata()]
    async with supervising(evi, audit_log=str(path)) as server:

        async def supervise(name: str) -> None:
            async with agent_on(server, client_info=Implementation(name=name, version="1")) as agent:
                await agent.call("attach_chat", chat_id=CHAT)
                for number in range(20):
                    text = f"{name} {number}"
                    await agent.call("send_user_input", chat_id=CHAT, text=text, wait_for_effect_s=0)

        async with anyio.create_task_group() as group:
            for name in ("ana", "ben", "cem"):
                group.start_soon(supervise, name)
        await evi.until(lambda: len(evi.received[CHAT]) == 60)
    commands = {record["n"]: record for record in records(path) if record["type"] == "command"}
    outcomes = [record for record in records(path) if record["type"] == "outcome"]
    assert sorted(record["fields"]["text"] for record in commands.values()) == sorted(
        command["text"] for command in evi.received[CHAT]
    )
    assert all(record["fields"]["text"].startswith(record["by"]["name"]) for record in commands.values())
    assert {record["of"] for record in outcomes} == set(commands) and len(outcomes) == 60
    assert {record["outcome"] for record in outcomes} == {"sent"}


async def test_no_secret_of_the_server_is_in_it(evi: FakeEvi, tmp_path: Path) -> None:
    """Our contract (section 7): neither the key nor a named secret, though it was sent, and whoever repeats it."""
    path = tmp_path / "audit.jsonl"
    evi.history[CHAT] = [frames.metadata()]
    secrets = {"OPENAI": SecretStr(SECRET)}
    async with supervising(evi, secrets=secrets, audit_log=str(path)) as server, agent_on(server) as agent:
        await agent.call("attach_chat", chat_id=CHAT)
        await agent.call("update_session_settings", chat_id=CHAT, language_model_api_key_name="OPENAI")
        await agent.call("send_assistant_input", chat_id=CHAT, text=f"{SECRET}, {KEY}", wait_for_effect_s=0)
        await agent.error("update_session_settings", chat_id=CHAT, language_model_api_key_name=SECRET)
        await agent.error("send_user_input", chat_id=KEY, text="x")
    assert [command.get("language_model_api_key") for command in evi.received[CHAT]] == [SECRET, None]
    written = json.dumps(records(path))
    assert SECRET not in written and KEY not in written
    assert [record["fields"] for record in records(path) if record["type"] == "command"] == [
        {"language_model_api_key": "[redacted]"},
        {"text": "[redacted], [redacted]"},
    ]
