"""What holds for every tool there is, and for every one that will be: a walk over the table."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from evi_mcp.access.callers import Access
from evi_mcp.protocol.commands import EVI_COMMANDS
from evi_mcp.server.tools import ALL_TOOLS
from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT, Agent, agent_on, every_tool, supervising, text_of

pytestmark = pytest.mark.anyio

FORBIDDEN = "chat-9"
SNAPSHOTS = Path(__file__).parent.parent / "snapshots"

ENOUGH: dict[str, Any] = {
    "tool_call_id": "call_1",
    "content": "x",
    "text": "x",
    "system_prompt": "x",
    "target_uri": "tel:+14155550123",
}
"""Arguments that make a call of any tool a sensible one."""
ANY_COMMAND = [*EVI_COMMANDS, "end_chat", "transfer_chat"]


def arguments_of(schema: dict[str, Any], chat_id: str) -> dict[str, Any]:
    """A call that touches this chat, if the tool can be told of one."""
    properties = schema["properties"]
    arguments = {name: value for name, value in ENOUGH.items() if name in properties}
    if "chat_id" in properties:
        arguments["chat_id"] = chat_id
    if "chat_ids" in properties:
        arguments["chat_ids"] = [chat_id]
    if "timeout_s" in properties:
        arguments["timeout_s"] = 0
    if "wait_for_effect_s" in properties:
        arguments["wait_for_effect_s"] = 0
    if "resume_after_s" in properties:
        arguments["resume_after_s"] = 1
    return arguments


async def schemas() -> dict[str, dict[str, Any]]:
    return {name: tool.input_schema for name, tool in (await every_tool()).items()}


@pytest.mark.parametrize("access", list(Access))
async def test_a_tool_is_listed_and_callable_at_its_level_and_above_only(
    evi: FakeEvi, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our contract (section 2): the ladder is enforced at one place, which no tool can forget."""
    for action in ("settings", "pausing", "ending"):
        monkeypatch.setattr(f"evi_mcp.supervision.actions.{action}.WAIT_FOR_EFFECT_S", 0.0)
    every = await schemas()
    evi.history[CHAT] = [frames.metadata(source="custom", supports=ANY_COMMAND), frames.tool_call("call_1")]
    async with supervising(evi, access=access) as server, agent_on(server) as agent:
        await agent.call("attach_chat", chat_id=CHAT)
        listed = {tool.name for tool in (await agent.client.list_tools()).tools}
        for spec in sorted(ALL_TOOLS, key=lambda spec: spec.name == "detach_chat"):
            result = await agent.client.call_tool(spec.name, arguments_of(every[spec.name], CHAT))
            if access.allows(spec.access):
                assert spec.name in listed and not result.is_error, result.content
            else:
                assert spec.name not in listed and result.is_error
                assert f"{spec.name} needs the access level '{spec.access}'" in text_of(result.content[0])
    if access is Access.MONITOR:
        assert evi.received[CHAT] == [], "who may only look has sent nothing"


async def test_no_tool_touches_a_chat_that_is_not_on_the_allow_list(evi: FakeEvi) -> None:
    """Our contract (section 2): all others are refused, by every tool that can be told of a chat."""
    evi.history[FORBIDDEN] = [frames.metadata(FORBIDDEN)]
    evi.chats[FORBIDDEN] = {"id": FORBIDDEN, "status": "ACTIVE"}
    async with supervising(evi, allowed_chats=CHAT) as server, agent_on(server) as agent:
        every = {tool.name: tool.input_schema for tool in (await agent.client.list_tools()).tools}
        told = [name for name, schema in every.items() if {"chat_id", "chat_ids"} & schema["properties"].keys()]
        for name in told:
            text = await agent.error(name, **arguments_of(every[name], FORBIDDEN))
            assert "not among the chats that this server may touch" in text, name
        assert set(every) - set(told) == {"list_chats"}
        assert FORBIDDEN not in await agent.text("list_chats", scope="active")
    assert not evi.sockets[FORBIDDEN] and not any(FORBIDDEN in path for path, _ in evi.handshakes)


@pytest.mark.parametrize("results", ["text", "structured"])
async def test_the_list_of_tools_stays_short(era: str, results: str) -> None:
    """A model pays for all of it in every conversation, before it has done anything: at most 9,000 characters."""
    tools = await every_tool(era, results=results)
    listed = [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools.values()]
    assert all("outputSchema" not in tool for tool in listed)
    assert len(json.dumps(listed, ensure_ascii=False, separators=(",", ":"))) <= 9000


async def test_every_tool_and_parameter_is_told_in_a_plain_sentence() -> None:
    """A model reads nothing else before it calls; what its name does not say of a parameter, a sentence does."""
    for tool in (await every_tool()).values():
        sentence = " ".join((tool.description or "").split())
        assert re.fullmatch(r"[A-Z][^.]+\.", sentence), sentence
        assert len(sentence.split()) <= 35, sentence
        for name, schema in tool.input_schema["properties"].items():
            told = schema.get("description", "").strip()
            assert told.endswith(".") or not told, f"{tool.name}.{name}"
        hints = tool.annotations
        assert hints is not None, tool.name
        assert hints.read_only_hint or hints.destructive_hint is not None, f"{tool.name}: a client has to know"
    for spec in ALL_TOOLS:
        for name, schema in spec.schema["properties"].items():
            told = schema.get("description", "").strip()  # all of them stand in docs/tools.md
            assert told.endswith(".") or name == "chat_id", f"{spec.name}.{name}"


async def test_reading_tools_say_that_they_only_read_and_loud_ones_that_they_are(evi: FakeEvi) -> None:
    """Our contract (section 5): clients ask their user before a destructive call, and not before a reading one."""
    acting = {
        "attach_chat",
        "detach_chat",
        "answer_tool_call",
        "whisper",
        "update_session_settings",
        "send_user_input",
        "send_assistant_input",
        "barge_in",
        "pause",
        "resume",
        "end_chat",
        "transfer_chat",
    }
    loud = {"send_user_input", "send_assistant_input", "barge_in", "pause", "end_chat", "transfer_chat"}
    loud.add("update_session_settings")
    assert {spec.name for spec in ALL_TOOLS if not spec.read_only} == acting
    assert {spec.name for spec in ALL_TOOLS if spec.destructive} == loud
    idempotent = {spec.name for spec in ALL_TOOLS if not spec.read_only and spec.idempotent}
    assert idempotent == {"pause", "resume", "attach_chat", "detach_chat"}


@pytest.mark.parametrize("results", ["both", "structured", "text"])
async def test_what_a_client_is_told_of_each_tool_is_the_snapshot(era: str, results: str) -> None:
    """A change of a schema is a change of what agents were built on: `make docs` shows it, somebody has to want it."""
    tools = await every_tool(era, results=results)
    assert set(tools) == {path.stem for path in SNAPSHOTS.glob("*.json")}
    for name, tool in tools.items():
        snapshot = json.loads((SNAPSHOTS / f"{name}.json").read_text("utf-8"))
        if results != "both":
            del snapshot["outputSchema"]
        assert tool.model_dump(mode="json", by_alias=True, exclude_none=True) == snapshot


async def test_an_agent_that_knows_no_parameter_is_told_which_there_are(agent: Agent) -> None:
    """A mistyped condition must not vanish from a command that is heard."""
    text = await agent.error("send_user_input", chat_id=CHAT, text="x", unless_spoken=1)
    assert 'no parameter "unless_spoken"; it takes chat_id, text, unless_user_spoke_after' in text


@pytest.mark.parametrize("whole", [True, False])
def test_the_schemas_of_the_tools_are_made_once(whole: bool) -> None:
    """They are the same for every server, and making them takes nearly all the time that a server takes to be made."""
    for spec in ALL_TOOLS:
        tool = spec.tool(with_output_schema=whole)
        assert tool is spec.tool(with_output_schema=whole)
        assert (tool.output_schema is not None) is whole
