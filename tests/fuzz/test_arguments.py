"""Every tool, prompt, completion and resource, with arguments that no agent means."""

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import anyio
import mcp_types as types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.shared.exceptions import MCPError

from evi_mcp.server.tools import ALL_TOOLS
from evi_mcp.upstream.memory import MemoryConnector
from tests import frames
from tests.fuzz.arguments import INTERNAL, check_answer, junk, object_of, quoted_apart, texts
from tests.harness import CHAT, Agent, agent_on, every_tool, supervising
from tests.supervision.following import QUICK

pytestmark = pytest.mark.anyio

HISTORY = (frames.metadata(), frames.user("Hello?", 100), frames.tool_call("call_1"), frames.tool_call("call_2"))

chat_ids = st.sampled_from([CHAT, CHAT, CHAT, "chat-2", "..", "a/b", "nobody"]) | texts
cursors = st.sampled_from(["earliest", "latest", "0-0", "zz-9", "0-" + "9" * 18, "-", "0--1", "0-1\n"]) | texts
short: st.SearchStrategy[Any] = st.sampled_from([0, 0.0, 0.01, -1, 1e400, float("nan"), None, "0", [], True])
"""Where seconds are asked for: nothing that holds a test up."""
KNOWN: dict[str, Any] = {
    "chat_id": chat_ids,
    "chat_ids": st.none() | st.lists(chat_ids, max_size=3) | junk,
    "tool_call_id": st.sampled_from(["call_1", "call_2", "call_9"]) | texts,
    "after": cursors,
    "unless_user_spoke_after": cursors,
    "timeout_s": short,
    "wait_for_effect_s": short,
    "language_model_api_key_name": st.sampled_from(["LLM", "", "HUME_API_KEY", "../LLM"]),
}


def hurried(tool: types.Tool, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments, with seconds that a test can wait for."""
    for name in {"timeout_s", "wait_for_effect_s"} & set(tool.input_schema["properties"]):
        value = arguments.get(name)
        if value is None or (isinstance(value, float) and not math.isfinite(value)):  # it would be the default
            value = arguments[name] = 0
        if isinstance(value, int | float) and 0.01 < value <= 50:
            arguments[name] = 0.01
    if tool.name == "barge_in" and arguments.get("resume_after_s") in (None, *range(2, 301)):
        arguments["resume_after_s"] = 1
    return arguments


def gathered(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """Examples for a test that awaits, which hypothesis itself cannot."""
    found: list[Any] = []

    @settings(max_examples=count, database=None)
    @given(strategy)
    def gather(value: Any) -> None:
        found.append(value)

    gather()
    return found


@asynccontextmanager
async def an_agent(monkeypatch: pytest.MonkeyPatch, era: str = "auto") -> AsyncIterator[tuple[Agent, MemoryConnector]]:
    """An agent of a server with room for three chats, two of which are attached."""
    monkeypatch.setattr("evi_mcp.supervision.service.Pace", lambda **_: QUICK)
    monkeypatch.setattr("evi_mcp.supervision.actions.settings.WAIT_FOR_EFFECT_S", 0.0)
    connector = MemoryConnector(HISTORY)
    async with supervising(None, connector, max_chats=3) as server, agent_on(server, era) as agent:
        for chat_id in (CHAT, "chat-2"):
            await agent.call("attach_chat", chat_id=chat_id)
        yield agent, connector


@pytest.mark.parametrize("name", [spec.name for spec in ALL_TOOLS])
async def test_a_tool_answers_with_what_it_promises_or_with_one_sentence(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our contract (section 5): an error says what is wrong and needs nothing beside it; and no agent can break us."""
    async with an_agent(monkeypatch) as (agent, connector):
        tool = (await every_tool())[name]
        for arguments in gathered(object_of(tool.input_schema, tool.input_schema, KNOWN), 40):
            with anyio.fail_after(10):
                answer = await agent.client.call_tool(name, hurried(tool, arguments))
            try:
                check_answer(tool, answer)
            except Exception as error:
                error.add_note(f"{name} with {str(arguments)[:2000]}: {str(answer)[:2000]}")
                raise
        sent = [frame for made in connector.connections.values() for transport in made for frame in transport.sent]
        for frame in sent:
            json.loads(frame, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))


parts = st.sampled_from([CHAT, "chat-2", "..", ".", "", "a/b", "%2e%2e", "%00", "%", "events", "audio", "*"]) | texts
queries = st.builds(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs),
    st.lists(
        st.tuples(st.sampled_from(["after", "limit", "x", "after%00", ""]), cursors | st.sampled_from(["1", "²", "0"]))
    ),
)
raw_uris = st.builds(
    lambda chat, view, query, escaped: f"evi://chats/{quote(chat, safe='') if escaped else chat}{view}{query}",
    parts,
    st.sampled_from(["", "/", "/events", "/transcript", "/tool-calls", "/audio/m-1", "/audio/", "//events"])
    | parts.map(lambda part: f"/audio/{part}"),
    st.just("") | queries.map(lambda query: f"?{query}"),
    st.booleans(),
)
uris = (
    raw_uris
    | st.sampled_from(["evi://", "evi://chats", "file:///etc/passwd", "http://127.0.0.1/", "", ":", "a b"])
    | texts
)


def check_refusal(error: MCPError) -> None:
    """A request that cannot be met is the caller's affair and not a crash, and nothing internal is said of it."""
    assert error.error.code != types.INTERNAL_ERROR, error.error
    assert not INTERNAL.search(quoted_apart(error.error.message)), error.error


@pytest.mark.filterwarnings("ignore:resources/subscribe is removed")
@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_resource_is_read_or_refused_whatever_its_address(era: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URI is written by agents, too: no path, no scheme and no query makes it more than a look-up."""
    async with an_agent(monkeypatch, era) as (agent, _):
        for uri in gathered(uris, 150):
            for ask in [agent.client.read_resource] + [agent.client.subscribe_resource] * (era == "legacy"):
                try:
                    read = await ask(uri)
                except MCPError as error:
                    check_refusal(error)
                else:
                    if isinstance(read, types.ReadResourceResult):
                        assert uri.startswith("evi://chats") and read.contents[0].model_dump_json()


async def test_prompts_and_completions_answer_whatever_they_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both take text of any kind, and show some of it."""
    fields = st.sampled_from(["chat_id", "goal", "x"]) | texts
    asked = st.dictionaries(fields, chat_ids | texts, max_size=3)
    names = st.sampled_from(["supervise_chat", "handle_tool_calls", "look_back_on_chat"]) | texts
    templates = (
        st.sampled_from(["evi://chats/{chat_id}", "evi://chats/{chat_id}/audio/{message_id}", "evi://{x}"]) | texts
    )
    async with an_agent(monkeypatch) as (agent, _):
        for name, arguments, template, value in gathered(st.tuples(names, asked, templates, texts), 100):
            reference = types.ResourceTemplateReference(type="ref/resource", uri=template)
            for ask in (
                lambda: agent.client.get_prompt(name, arguments),  # noqa: B023 - called at once
                lambda: agent.client.complete(reference, {"name": "chat_id", "value": value}),  # noqa: B023
            ):
                try:
                    assert (await ask()).model_dump_json()
                except MCPError as error:
                    check_refusal(error)
