"""Changing the running chat's settings: every field as Hume documents it, checked before the network."""

import json
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from evi_mcp.config import Settings
from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT, Agent, agent_on, answering, supervising

pytestmark = pytest.mark.anyio

SCHEMA = {"type": "object", "properties": {"number": {"type": "string"}}, "required": ["number"]}
SECRET = "sk-live/0123456789"

EVERY_FIELD: dict[str, Any] = {
    "system_prompt": "You help {{customer}}.",
    "variables": {"customer": "Ines", "tier": 2, "vip": False, "share": 0.5},
    "voice_id": "voice-1",
    "tools": [
        {"name": "parcel_status", "parameters": SCHEMA, "description": "Where it is.", "fallback_content": "Down."},
        {"name": "refund", "parameters": json.dumps(SCHEMA)},
    ],
    "builtin_tools": [{"name": "web_search"}, {"name": "hang_up", "fallback_content": "Say goodbye."}],
    "metadata": {"desk": ["returns", 3]},
}
AS_A_FRAME: dict[str, Any] = {
    "type": "session_settings",
    "system_prompt": "You help {{customer}}.",
    "variables": {"customer": "Ines", "tier": 2, "vip": False, "share": 0.5},
    "voice_id": "voice-1",
    "tools": [
        {
            "type": "function",
            "name": "parcel_status",
            "parameters": json.dumps(SCHEMA, separators=(",", ":")),
            "description": "Where it is.",
            "fallback_content": "Down.",
        },
        {"type": "function", "name": "refund", "parameters": json.dumps(SCHEMA)},
    ],
    "builtin_tools": [{"name": "web_search"}, {"name": "hang_up", "fallback_content": "Say goodbye."}],
    "metadata": {"desk": ["returns", 3]},
}


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evi_mcp.supervision.actions.settings.WAIT_FOR_EFFECT_S", 0.2)


async def test_every_field_goes_out_as_hume_documents_it(evi: FakeEvi, agent: Agent, live: str) -> None:
    """A schema given as an object is serialised, since the wire has it as a string; numbers stay what they are."""
    receipt = await agent.call("update_session_settings", chat_id=CHAT, **EVERY_FIELD)
    assert (receipt["command"], receipt["status"]) == ("session_settings", "sent")
    await evi.until(lambda: evi.received[CHAT])
    assert evi.received[CHAT] == [AS_A_FRAME]
    [event] = (await agent.call("read_events", chat_id=CHAT, after=receipt["cursor"], types=["command"]))["events"]
    assert event["settings"] == {name: value for name, value in AS_A_FRAME.items() if name != "type"}
    assert event["by"] == "mcp"


EMPTY: dict[str, Any] = {
    "system_prompt": "",
    "variables": {},
    "tools": [],
    "builtin_tools": [],
    "metadata": {},
    "language_model_api_key_name": "",
    "clear": [],
}


async def test_an_empty_value_takes_nothing_away_and_clear_does(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Many clients fill in empty values for what a model leaves out: a live call must not lose its tools by that."""
    await agent.call("update_session_settings", chat_id=CHAT, **{**EMPTY, "voice_id": "v"})
    everything = ["context", "variables", "tools", "builtin_tools", "metadata"]
    await agent.call("update_session_settings", chat_id=CHAT, clear=everything)
    assert "nothing to change" in await agent.error("update_session_settings", chat_id=CHAT, **EMPTY)
    await evi.until(lambda: len(evi.received[CHAT]) == 2)
    assert evi.received[CHAT] == [
        {"type": "session_settings", "voice_id": "v"},
        {
            "type": "session_settings",
            "context": None,
            "variables": {},
            "tools": [],
            "builtin_tools": [],
            "metadata": {},
        },
    ]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"text": "She is a regular."}, {"text": "She is a regular."}),
        ({"text": "She is a regular.", "persistent": True}, {"text": "She is a regular.", "type": "persistent"}),
        ({"text": {"refund": 12.5, "an": ["ü", None]}}, {"text": '{"refund":12.5,"an":["ü",null]}'}),
        ({"text": '{"as": "written"}'}, {"text": '{"as": "written"}'}),
    ],
)
async def test_a_whisper_is_context_without_a_reply(
    evi: FakeEvi, agent: Agent, live: str, given: dict[str, Any], sent: dict[str, Any]
) -> None:
    """Hume: context is added to the user's messages for the LLM; temporary, the default, holds for the next one."""
    answering(evi, frames.settings(context={"type": "temporary", **sent}))
    receipt = await agent.call("whisper", chat_id=CHAT, **given)
    assert (receipt["command"], receipt["status"]) == ("session_settings", "confirmed")
    assert evi.received[CHAT] == [{"type": "session_settings", "context": sent}]


async def test_there_is_no_empty_whisper(evi: FakeEvi, agent: Agent, live: str) -> None:
    """It would take the place of a remark that holds."""
    assert "nothing to whisper" in await agent.error("whisper", chat_id=CHAT, text=" ", persistent=True)
    assert not evi.received[CHAT]


async def test_settings_are_confirmed_by_those_that_come_back(evi: FakeEvi, agent: Agent, live: str) -> None:
    """What shows other values, or a part only, is another agent's change."""

    async def answer(chat_id: str, command: dict[str, Any]) -> None:
        await evi.push(
            CHAT, frames.settings(voice_id="another"), frames.settings(**{**command, "audio": {"channels": 1}})
        )

    evi.on_command = answer
    fields = {"voice_id": "voice-2", "variables": {"name": "Ines"}}
    receipt = await agent.call("update_session_settings", chat_id=CHAT, **fields)
    types = ["command", "session_settings"]
    events = (await agent.call("read_events", chat_id=CHAT, after=receipt["cursor"], types=types))["events"]
    assert (receipt["status"], receipt["confirmed_by"]) == ("confirmed", events[-1]["seq"])
    assert [event["type"] for event in events] == ["command", "session_settings", "session_settings"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "nothing to change"),
        ({"tools": [{"name": "t", "parameters": "{}"}], "clear": ["tools"]}, 'given beside it ("tools")'),
        ({"clear": ["voice_id"]}, "clear.0"),
        ({"tools": [{"name": "t", "parameters": {"type": "objekt"}}]}, "tools.0.parameters: is no JSON Schema"),
        ({"tools": [{"name": "t", "parameters": "{'type': 'object'}"}]}, "tools.0.parameters: is not JSON"),
        ({"tools": [{"name": "t", "parameters": "[]"}]}, "which is a JSON object"),
        ({"tools": [{"name": "t", "parameters": {"pattern": "("}}]}, "is no JSON Schema"),
        ({"tools": [{"name": "t", "parameters": "[" * 30_000}]}, "is not JSON"),
        ({"tools": [{"name": "", "parameters": {}}]}, "tools.0.name"),
        ({"tools": [{"name": "t", "parameters": {}, "fallback": "x"}]}, "tools.0.fallback"),
        ({"builtin_tools": [{"name": "fly"}]}, "builtin_tools.0.name"),
        ({"variables": {"a": ["b"]}}, "variables.a: a value is a text, a number, true or false."),
        ({"language_model_api_key_name": "OPENAI"}, 'no secret "OPENAI", there is none'),
        ({"language_model_api_key": SECRET}, "has no parameter"),
    ],
)
async def test_what_evi_would_not_understand_is_refused_before_the_network(
    evi: FakeEvi, agent: Agent, live: str, arguments: dict[str, Any], said: str
) -> None:
    """Ten identical errors make EVI close the connection (Hume's page of errors)."""
    text = await agent.error("update_session_settings", chat_id=CHAT, **arguments)
    assert said in text and SECRET not in text
    await agent.call("pause", chat_id=CHAT)
    await evi.until(lambda: evi.received[CHAT])
    assert [command["type"] for command in evi.received[CHAT]] == ["pause_assistant_message"]


async def test_a_named_secret_reaches_the_service_and_nobody_else(
    evi: FakeEvi, caplog: pytest.LogCaptureFixture
) -> None:
    """Our contract (section 2): tools can name it but never see it, whatever the service does with it."""
    caplog.set_level("DEBUG")

    async def answer(chat_id: str, command: dict[str, Any]) -> None:
        await evi.push(
            CHAT,
            frames.settings(**command),
            frames.error(message=f"the key {SECRET} is not accepted"),
            frames.assistant(f"My key is {SECRET}."),
            frames.tool_call(parameters=json.dumps({"key": SECRET}).replace("/", "\\/")),
            frames.metadata(CHAT).replace("group-1", SECRET).replace(CHAT, "another"),
            frames.frame("novelty", seen=[{"where": f"in {SECRET}"}]),
            frames.end(),
        )

    evi.on_command = answer
    evi.history[CHAT] = [frames.metadata()]
    async with (
        supervising(evi, secrets={"OPENAI": SecretStr(SECRET)}) as server,
        agent_on(server) as agent,
    ):
        await agent.call("attach_chat", chat_id=CHAT)
        receipt = await agent.call("update_session_settings", chat_id=CHAT, language_model_api_key_name="OPENAI")
        assert receipt["status"] == "sent", "of two secrets nobody can say that they are the same"
        await evi.until(lambda: evi.received[CHAT])
        assert evi.received[CHAT] == [{"type": "session_settings", "language_model_api_key": SECRET}]
        await agent.call("wait_for_events", after=receipt["cursor"], types=["assistant_end"])
        page = await agent.call("read_events", chat_id=CHAT, types=["command"])
        [event] = page["events"]
        assert event["settings"] == {"language_model_api_key": "[redacted]"}
        wrong = await agent.error("update_session_settings", chat_id=CHAT, language_model_api_key_name="X")
        assert 'there are "OPENAI"' in wrong
        seen = json.dumps(page) + await agent.text("read_events", chat_id=CHAT)
        seen += await agent.text("get_chat", chat_id=CHAT) + await agent.text("get_transcript", chat_id=CHAT)
        seen += await agent.text("list_tool_calls", status="all")
        evi.refuse[CHAT] = 503  # so that it stays away for a while
        await evi.close(CHAT, 1011, f"bad key {SECRET}")
        seen += json.dumps(await agent.until_state("reconnecting"))
        seen += json.dumps(await agent.call("read_events", chat_id=CHAT, types=["chat_state"]))
    assert SECRET not in seen and "[redacted]" in seen
    assert SECRET not in "\n".join(
        record.getMessage() for record in caplog.records if record.name.startswith("evi_mcp")
    )


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ({"clear": ["context"]}, {"voice_id": "v"}),
        ({"metadata": {"a": None}}, {"metadata": {}}),
        ({"clear": ["variables"]}, {"variables": {"z": 1}}),
        ({"variables": {"n": 1}}, {"variables": {"n": True}}),
        ({"voice_id": "v", "system_prompt": "p"}, {"voice_id": "v"}),
        ({"tools": [{"name": "t", "parameters": {}}]}, {"tools": []}),
    ],
)
async def test_what_somebody_else_has_set_confirms_nothing(
    evi: FakeEvi, agent: Agent, live: str, sent: dict[str, Any], shown: dict[str, Any]
) -> None:
    """Our contract (section 5): `confirmed` is never a guess."""

    async def answer(chat_id: str, command: dict[str, Any]) -> None:
        await evi.push(CHAT, frames.settings(**shown))

    evi.on_command = answer
    assert (await agent.call("update_session_settings", chat_id=CHAT, **sent))["status"] == "sent"


def test_a_secret_that_is_too_short_to_be_found_is_refused() -> None:
    """It could not be taken out where a service repeats it; whoever configures the server is told."""
    with pytest.raises(ValidationError, match='the secret "SHORT" has less than 8 characters'):
        Settings(secrets={"SHORT": SecretStr("abc")})


async def test_a_schema_that_breaks_its_checker_is_told_as_one(agent: Agent, live: str) -> None:
    """And one that takes long to check holds nobody up: it is checked beside the loop, up to 64 Ki characters."""
    schemas: tuple[Any, ...] = ({"$schema": 5}, {"$schema": []}, '{"minimum": NaN}')
    for schema in schemas:
        tools = [{"name": "t", "parameters": schema}]
        assert "JSON" in await agent.error("update_session_settings", chat_id=CHAT, tools=tools)
    tools = [{"name": "t", "parameters": {"description": "x" * 70_000}}]
    assert "too long to be checked" in await agent.error("update_session_settings", chat_id=CHAT, tools=tools)
