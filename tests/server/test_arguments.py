"""Arguments as models write them: `null` for what is left out, one thing for a list of it, JSON as text."""

import json
from typing import Any

import mcp_types as types
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.exceptions import MCPError

from evi_mcp.server.arguments import as_meant
from evi_mcp.server.tools import ALL_TOOLS
from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT, Agent

TOOLS = {spec.name: spec.schema for spec in ALL_TOOLS}
"""The schemas by which arguments are read."""
ONE_OF_EACH: dict[str, Any] = {
    "chat_ids": ["chat-1"],
    "types": ["user_message"],
    "until": [{"kind": "text", "contains": "help"}],
    "variables": {"name": "Kim"},
    "metadata": {"a": {"b": None}},
    "tools": [{"name": "f", "parameters": "{}"}],
    "builtin_tools": [{"name": "web_search"}],
    "clear": ["context"],
}
"""For each parameter of the table that takes a list or an object, what may be given."""
STRUCTURED = [(tool, name) for tool, schema in TOOLS.items() for name in schema["properties"] if name in ONE_OF_EACH]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)

pytestmark = pytest.mark.anyio


def test_every_parameter_that_is_no_plain_value_has_its_example() -> None:
    """A new one has to be thought of below."""
    every = {(tool, name): field for tool, schema in TOOLS.items() for name, field in schema["properties"].items()}
    structured = [
        where for where, field in every.items() if '"array"' in json.dumps(field) or '"object"' in json.dumps(field)
    ]
    assert sorted(structured) == sorted(STRUCTURED)


@pytest.mark.parametrize("tool", TOOLS)
def test_what_is_optional_may_be_null(tool: str) -> None:
    """Many models write every parameter; what a schema requires is refused by its validation."""
    schema = TOOLS[tool]
    every = dict.fromkeys(schema["properties"])
    assert as_meant(every, schema) == dict.fromkeys(schema.get("required", ()))


@pytest.mark.parametrize(("tool", "name"), STRUCTURED)
def test_json_text_is_what_it_says(tool: str, name: str) -> None:
    """Some models write lists and objects as text."""
    value = ONE_OF_EACH[name]
    for text in (json.dumps(value), f" {json.dumps(value, indent=1)}\n"):
        assert as_meant({name: text}, TOOLS[tool]) == {name: value}


@pytest.mark.parametrize(
    ("tool", "name"), [(tool, name) for tool, name in STRUCTURED if isinstance(ONE_OF_EACH[name], list)]
)
def test_one_thing_is_a_list_of_one(tool: str, name: str) -> None:
    """Also as JSON text, and in a list of texts."""
    [item] = ONE_OF_EACH[name]
    text = item if isinstance(item, str) else json.dumps(item)
    for written in (item, text, [text]):
        assert as_meant({name: written}, TOOLS[tool]) == {name: [item]}


@given(st.dictionaries(st.text(), JSON))
def test_free_data_stays_as_it_is(data: dict[str, Any]) -> None:
    """`null`, or a text that looks like JSON, is a value there like any other."""
    given = {"metadata": data, "variables": data}
    assert as_meant(given, TOOLS["update_session_settings"]) == given


@given(st.sampled_from(sorted(TOOLS)), st.dictionaries(st.text() | st.sampled_from(sorted(ONE_OF_EACH)), JSON))
def test_anything_goes_in_and_what_has_been_read_once_is_read(tool: str, arguments: dict[str, Any]) -> None:
    """Validation comes after, and says what is wrong: reading never raises, and changes nothing that it has changed."""
    read = as_meant(arguments, TOOLS[tool])
    assert as_meant(read, TOOLS[tool]) == read


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("until", '[{"kind": "turn_end"}'),
        ("until", "[" * 100_000),
        ("types", '["a", NaN]'),
        ("types", '["\\ud83d"]'),
        ("metadata", '{"a": Infinity}'),
        ("metadata", '{"a": ' * 300 + "1" + "}" * 300),
    ],
)
def test_text_that_is_no_json_is_left_to_be_refused(name: str, text: str) -> None:
    """A list of one broken text would be another mistake than the one that was made."""
    tool = "update_session_settings" if name == "metadata" else "wait_for_events"
    assert as_meant({name: text}, TOOLS[tool]) == {name: text}


async def test_agents_are_understood_in_each_of_these_ways(evi: FakeEvi, agent: Agent, live: str) -> None:
    """All the way through the server, in what wakes, what is sent and what is refused."""
    every = dict.fromkeys(TOOLS["wait_for_events"]["properties"])
    page = await agent.call("wait_for_events", **{**every, "after": "earliest"})
    assert page["woken_by"] == "event"
    page = await agent.call("wait_for_events", after="earliest", chat_ids=CHAT, types="tool_call", timeout_s=0)
    assert [event["type"] for event in page["events"]] == ["tool_call"]
    until = '{"kind": "expression", "score": "Interest", "at_least": 0.2, "turns": null, "speaker": null}'
    async with agent.waiting(after=live, until=until) as pages:
        await evi.push(CHAT, frames.user("well", 9000, scores={"Interest": 0.9}), frames.assistant("So?", "m-9"))
    [page] = pages
    assert page["trigger"]["kind"] == "expression"
    await agent.call("update_session_settings", chat_id=CHAT, variables='{"name": "Kim"}', system_prompt=None)
    await evi.until(lambda: evi.received[CHAT])
    assert evi.received[CHAT] == [{"type": "session_settings", "variables": {"name": "Kim"}}]
    assert "chat_id must be text" in await agent.error("get_chat", chat_id=None)
    assert "until takes objects such as {" in await agent.error("wait_for_events", until="[{")
    assert 'no parameter "untill"' in await agent.error("wait_for_events", untill=None)


async def test_arguments_of_prompts_and_completions_may_be_null_too(agent: Agent, live: str) -> None:
    """The protocol knows texts only there: `null` made an invalid request, and nothing said why."""

    async def prompt(**arguments: Any) -> str:
        params = types.GetPromptRequestParams.model_construct(name="supervise_chat", arguments=arguments)
        request = types.GetPromptRequest.model_construct(method="prompts/get", params=params)
        return str(await agent.client.session.send_request(request, types.GetPromptResult))

    async def completed(**context: Any) -> list[str]:
        params = types.CompleteRequestParams.model_construct(
            ref=types.PromptReference(name="supervise_chat"),
            argument=types.CompletionArgument(name="chat_id", value="chat"),
            context=types.CompletionContext.model_construct(arguments=context),
        )
        request = types.CompleteRequest.model_construct(method="completion/complete", params=params)
        return (await agent.client.session.send_request(request, types.CompleteResult)).completion.values

    assert CHAT in await prompt(chat_id=CHAT, goal=None)
    with pytest.raises(MCPError, match="supervise_chat needs chat_id"):
        await prompt(chat_id=None)
    assert await completed(goal=None) == [CHAT]
