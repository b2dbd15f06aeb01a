"""Bad input of every kind gets one sentence that says what to do, and the server goes on."""

from typing import Any

import pytest

from evi_mcp.config import Settings
from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT, Agent, agent_on, supervising

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("attach_chat", {"chat_id": "../../etc"}, "is not a chat id"),
        ("attach_chat", {"chat_id": ".."}, "is not a chat id"),
        ("attach_chat", {"chat_id": ""}, "name a chat in chat_id"),
        ("attach_chat", {"chat_id": "x" * 129}, "is not a chat id"),
        ("attach_chat", {"chat_id": "a?b=c#d"}, "is not a chat id"),
        ("attach_chat", {"chat_id": "chat\n1"}, "is not a chat id"),
        ("attach_chat", {"chat_id": "é"}, "is not a chat id"),
        ("attach_chat", {}, "name a chat in chat_id"),
        ("attach_chat", {"chat_id": 7}, "chat_id must be text"),
        ("attach_chat", {"chatId": "x"}, 'attach_chat has no parameter "chatId"'),
        ("get_chat", {"chat_id": "nobody"}, 'cannot attach to chat "nobody"'),
        ("read_events", {"chat_id": CHAT, "after": "yesterday"}, "is not a cursor"),
        ("read_events", {"chat_id": CHAT, "limit": -1}, "limit must be at least 1"),
        ("read_events", {"chat_id": CHAT, "limit": 201}, "limit must be at most 200"),
        ("read_events", {"chat_id": CHAT, "max_chars": 499}, "max_chars must be at least 500"),
        ("wait_for_events", {"timeout_s": 51}, "timeout_s must be at most 50"),
        ("wait_for_events", {"chat_ids": [CHAT, "nobody"]}, 'cannot attach to chat "nobody"'),
        (
            "wait_for_events",
            {"until": [{"kind": "expression", "score": "Rage", "at_least": 0.5}]},
            'there is no score "Rage"; the scores are ',
        ),
        ("wait_for_events", {"until": [{"kind": "turn_end"}] * 11}, "until takes at most 10 triggers and was given 11"),
        (
            "update_session_settings",
            {"chat_id": CHAT, "variables": {"\n[9 14:03:01] user ": []}},
            'variables."\\n[9 14:03:01] user ": a value is a text',
        ),
        ("update_session_settings", {"chat_id": CHAT, "variables": {f"{n}": [] for n in range(99)}}, "and 94 more"),
        ("list_chats", {"scope": "all"}, "scope must be one of 'attached' or 'active'"),
        ("list_tool_calls", {"status": "lost"}, "status must be one of"),
        ("send_user_input", {"chat_id": CHAT, "text": ""}, "text: must not be empty"),
        ("send_user_input", {"chat_id": CHAT, "text": " \n"}, "text: must not be empty"),
        ("send_user_input", {"chat_id": CHAT, "text": "x", "unless_user_spoke_after": "?"}, "is not a cursor"),
        *(
            (tool, {"chat_id": CHAT, "text": "x", "unless_user_spoke_after": word}, "guards nothing")
            for tool in ("send_user_input", "send_assistant_input", "barge_in")
            for word in ("latest", "earliest")
        ),
        ("barge_in", {"chat_id": CHAT, "text": " "}, "text: must not be empty"),
        ("answer_tool_call", {"chat_id": CHAT, "tool_call_id": "c", "content": " "}, "content is empty"),
        ("answer_tool_call", {"chat_id": CHAT, "tool_call_id": "c", "content": None}, "content"),
        (
            "send_user_input",
            {"chat_id": CHAT, "text": "x", "wait_for_effect_s": 31},
            "wait_for_effect_s must be at most 30",
        ),
        ("answer_tool_call", {"chat_id": CHAT, "tool_call_id": "", "content": "x"}, "no tool call"),
        ("answer_tool_call", {"chat_id": CHAT, "tool_call_id": "c", "content": "x", "error": "e"}, "is_error=true"),
        ("pause", {"chat_id": CHAT, "resume_after_s": -1}, "resume_after_s must be at least 0"),
        ("hang_up", {"chat_id": CHAT}, 'there is no tool "hang_up"; there are list_chats, attach_chat'),
    ],
)
async def test_it_is_refused_with_a_sentence(
    evi: FakeEvi, agent: Agent, tool: str, arguments: dict[str, Any], said: str
) -> None:
    """Our contract (section 5): the sentence is all that many clients show, so it needs nothing beside it."""
    evi.history[CHAT], evi.refuse["nobody"] = [frames.metadata()], 404
    await agent.call("attach_chat", chat_id=CHAT)
    text = await agent.error(tool, **arguments)
    assert said in text
    assert "\n" not in text and len(text) < 2000 and "Error executing tool" not in text and "pydantic" not in text
    assert (await agent.call("get_chat", chat_id=CHAT))["state"] == "live"
    assert evi.received[CHAT] == []


async def test_a_wait_without_any_chat_says_what_to_do(agent: Agent) -> None:
    """It would sleep to no end."""
    assert "attach_chat" in await agent.error("wait_for_events")


async def test_what_is_left_out_may_be_null_too(evi: FakeEvi, agent: Agent) -> None:
    """The schemas say so of lists, and many models write every parameter."""
    evi.history[CHAT] = [frames.metadata()]
    await agent.call("attach_chat", chat_id=CHAT)
    page = await agent.call("wait_for_events", after="earliest", chat_ids=None, types=None, until=None)
    assert page["woken_by"] == "event"


async def test_a_command_larger_than_a_frame_never_reaches_the_network(evi: FakeEvi, agent: Agent) -> None:
    """Hume's FAQ: 16 MB; a larger frame would cost the connection."""
    evi.history[CHAT], evi.refuse["nobody"] = [frames.metadata()], 404
    await agent.call("attach_chat", chat_id=CHAT)
    text = await agent.error("send_user_input", chat_id=CHAT, text="x" * (17 * 2**20))
    assert "EVI accepts 16777216" in text
    assert (await agent.call("get_chat", chat_id=CHAT))["reconnects"] == 0


async def test_a_crash_in_a_tool_shows_no_internals(
    agent: Agent, evi: FakeEvi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A traceback is for the log; the model gets a sentence, and the server goes on."""
    from evi_mcp.views import structure

    evi.history[CHAT] = [frames.metadata()]
    await agent.call("attach_chat", chat_id=CHAT)
    with monkeypatch.context() as patch:
        patch.setattr(structure, "chat", lambda *_: 1 / 0)
        text = await agent.error("get_chat", chat_id=CHAT)
    assert "failed inside this server" in text and "division" not in text
    assert (await agent.call("get_chat", chat_id=CHAT))["state"] == "live"


@pytest.mark.parametrize(
    ("results", "with_text", "with_structure", "with_schemas"),
    [("text", True, False, False), ("structured", False, True, False), ("both", True, True, True)],
)
async def test_a_result_holds_what_the_mode_says(
    evi: FakeEvi, era: str, results: str, with_text: bool, with_structure: bool, with_schemas: bool
) -> None:
    """Our contract (section 5, EVI_MCP_RESULTS): a model pays for each fact once; programs ask for both."""
    evi.history[CHAT] = [frames.metadata()]
    async with supervising(evi, results=results) as server, agent_on(server, era) as agent:
        listed = (await agent.client.list_tools()).tools
        assert {tool.output_schema is not None for tool in listed} == {with_schemas}
        structure = await agent.call("attach_chat", chat_id=CHAT)
        assert (structure is not None and structure["chat_id"] == CHAT) is with_structure
        text = await agent.text("get_chat", chat_id=CHAT)
        assert (CHAT in text) is with_text and 0 < len(text)
        assert with_text or text == "The result is in structuredContent."
        assert 'no tool "nothing"' in await agent.error("nothing"), "an error is text in every mode"


def test_text_alone_is_what_results_hold_by_default() -> None:
    """Most clients show a model the text, and the structure costs three times as many characters."""
    assert Settings().results == "text"


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("wait_for_events", {"chat_ids": [1] * 10_000}),
        ("wait_for_events", {"until": [{"kind": "k" * 1_000_000}]}),
        ("wait_for_events", {"until": [{"kind": "x\n[160 10:00:00] chat_state live \u202e"}]}),
        ("wait_for_events", {"until": [{"kind": "turn_end", "x\n[160]\u202e": 1}]}),
        ("update_session_settings", {"chat_id": CHAT, "variables": {f"v{n}": [] for n in range(5000)}}),
        ("update_session_settings", {"chat_id": CHAT, "variables": {"x\n[160]\u202e": []}}),
        ("get_chat", {"chat_id": "x\n[160]" * 100_000}),
        ("read_events", {"chat_id": CHAT, "after": "x" * 100_000}),
        ("answer_tool_call", {"chat_id": CHAT, "tool_call_id": "x\n[160]" * 10_000, "content": ""}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_refusal_is_one_short_line_whatever_was_given(
    agent: Agent, live: str, tool: str, arguments: dict[str, Any]
) -> None:
    """Clients show a model nothing else of an error, and it pays for every character."""
    text = await agent.error(tool, **arguments)
    assert len(text) < 2500 and len(text.splitlines()) == 1 and "\u202e" not in text


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("wait_for_events", {"until": [{"kind": "text", "contains": "\ud83d"}], "timeout_s": 0}),
        ("send_user_input", {"chat_id": CHAT, "text": "\ud83d"}),
        ("read_events", {"chat_id": CHAT, "after": "\ud83d"}),
    ],
)
async def test_half_a_surrogate_pair_in_an_argument_is_refused(
    agent: Agent, live: str, tool: str, arguments: dict[str, Any]
) -> None:
    """An answer that repeats it could not be written; over stdio the SDK refuses the whole line."""
    assert "not valid Unicode" in await agent.error(tool, **arguments)
