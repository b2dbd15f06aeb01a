"""A key that is a word or a few digits, as services on one's own machine have them, spoils nothing and is still hidden.

Masked in the JSON of a frame, the key `assistant` left no message of EVI readable, and `00000000` no large number.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from evi_mcp.chat.events import HIDDEN_TYPES
from evi_mcp.protocol.redaction import REDACTED, Mask, without_credentials
from tests import frames
from tests.audit.disks import records
from tests.fake_evi import fake_evi
from tests.folding import FoldedChat
from tests.harness import CHAT, agent_on, supervising

pytestmark = pytest.mark.anyio

WORDS = (
    "assistant",
    "assistant_message",
    "user_message",
    "parameters",
    "models_are",
    "00000000",
    "12345678",
    "Calmness",
)
STRUCTURE = {"type", "speaker", "state", "command", "at", "cursor"}
"""Fields of events whose values are EVI's words or ours."""


def talk(key: str) -> list[str]:
    """A message of every type, with the key wherever a service could repeat it."""
    inner = json.dumps({"number": 100000000, "key": key, "list": [f"x{key}", 112345678, 1.5, True, None]})
    return [
        frames.metadata().replace("group-1", f"group-{key}"),
        frames.user(f"my key is {key}", 112345678),
        frames.typed(key),
        frames.user(f"{key} with a new field", 5).replace('"from_text"', '"a_new_field": 1, "from_text"'),
        frames.assistant(f"so it is {key}?", "m-1"),
        frames.assistant(f"{key}, in another form", "m-2").replace('"models": {}', '"models": null'),
        frames.prosody("m-1", Calmness=0.9),
        frames.end(),
        frames.tool_call("call_1", "look_up", inner),
        frames.tool_response("call_1", inner),
        frames.tool_error("call_2", f"no such key: {key}"),
        frames.settings(metadata={"key_used": key, "n": 112345678}, system_prompt=f"You have {key}"),
        frames.error("W0100", "bad_key", f"the key {key} is odd"),
        frames.frame("brand_new", note=key, deep=[{"n": 100000000, "said": inner}]),
        frames.frame("assistant_feeling", note=f"a type with {key} in it, perhaps"),
    ]


def leaks(key: str, value: Any, field: str = "") -> Iterator[str]:
    """Where the key stands in the values of a result, numbers included; structure is not looked at."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaks(key, item, name)
    elif isinstance(value, list):
        for item in value:
            yield from leaks(key, item, field)
    elif field not in STRUCTURE and key in (value if isinstance(value, str) else json.dumps(value)):
        yield f"{field}: {value}"


@pytest.mark.parametrize("key", WORDS)
async def test_every_message_is_read_and_the_key_is_in_no_value(key: str) -> None:
    """The whole way, from frames to the results of tools; types, speakers and numbers are as EVI sent them."""
    async with fake_evi() as evi:
        evi.key = key
        evi.history[CHAT] = list(talk(key))
        async with supervising(evi, hume_api_key=SecretStr(key)) as server, agent_on(server) as agent:
            chat = await agent.call("attach_chat", chat_id=CHAT)
            assert chat["state"] == "live"
            page = await agent.call("read_events", chat_id=CHAT, limit=200)
            events = page["events"]
            types = [json.loads(frame)["type"] for frame in evi.history[CHAT]]
            types = [name for name in types if name not in HIDDEN_TYPES]
            types[-1] = Mask([key])(types[-1])  # a type that nobody documents is a word of the service
            assert [event["type"] for event in events if event["type"] != "chat_state"] == types
            assert [event.get("speaker") for event in events[:5]] == ["user"] * 3 + ["assistant"] * 2
            assert events[0].get("begin_ms") == (None if key == "12345678" else 112345678)
            call = next(event for event in events if event["type"] == "tool_call")
            parameters = call["parameters"] if isinstance(call["parameters"], dict) else json.loads(call["parameters"])
            assert parameters["key"] == REDACTED and parameters["list"][2:] == [1.5, True, None]
            assert parameters["number"] == (REDACTED if key == "00000000" else 100000000)
            results = [chat, page, *[await agent.call(tool, chat_id=CHAT) for tool in ("get_chat", "get_transcript")]]
            results.append(await agent.call("list_tool_calls", chat_id=CHAT, status="all"))
            for result in results:
                assert not list(leaks(key, result))
            turns = results[3]["turns"]
            assert f"so it is {REDACTED}?" in str(turns)


async def test_a_result_about_arguments_that_are_words_keeps_its_words(tmp_path: Path) -> None:
    """Types and speakers are arguments too; what an agent has sent is masked where it is repeated, and only there."""
    path = tmp_path / "audit.jsonl"
    async with fake_evi() as evi:
        evi.key = "assistant"
        evi.history[CHAT] = [frames.metadata(), frames.assistant("Hello", "m-1"), frames.end()]
        settings: dict[str, Any] = {"hume_api_key": SecretStr("assistant"), "audit_log": str(path)}
        async with supervising(evi, **settings) as server, agent_on(server) as agent:
            await agent.call("attach_chat", chat_id=CHAT)
            page = await agent.call("read_events", chat_id=CHAT, types=["assistant_message", "assistant_end"])
            assert [event["type"] for event in page["events"]] == ["assistant_message", "assistant_end"]
            until = [{"kind": "text", "contains": "an assistant", "speaker": "assistant"}]
            page = await agent.call("wait_for_events", after="earliest", until=until, timeout_s=0)
            assert page["events"][0]["speaker"] == "assistant"
            said = {"text": "I am the assistant", "wait_for_effect_s": 0}
            receipt = await agent.call("send_assistant_input", chat_id=CHAT, **said)
            assert (receipt["command"], receipt["status"]) == ("assistant_input", "sent")
            await evi.until(lambda: evi.received[CHAT])
            assert evi.received[CHAT][0]["text"] == "I am the assistant"
    commands = [record for record in records(path) if record["type"] == "command"]
    assert [record["command"] for record in commands] == ["assistant_input"]
    assert commands[0]["fields"]["text"] == f"I am the {REDACTED}"


def test_two_ids_that_look_alike_when_masked_are_two() -> None:
    """What is hidden is hidden from readers; what tells two calls apart is what EVI sent."""
    record = FoldedChat(mask=Mask(["call_one", "call_two"]))
    events = [record.receive(frames.tool_call(name), 1.0) for name in ("call_one", "call_two")]
    assert [len(found) for found in events] == [1, 1]
    assert "call_one" not in str(events) and "call_two" not in str(events)


@pytest.mark.parametrize(
    "name", ["_fields_set", "cls", "self", "masked", "sentences", "model_config", "__dict__", "type_"]
)
def test_a_field_of_any_name_can_be_masked(name: str) -> None:
    """A service may name its fields as it likes, be it like something of the library's."""
    record = FoldedChat(mask=Mask(["sk-secret-1"]))
    [event] = record.receive(frames.settings(**{name: "sk-secret-1", "x sk-secret-1": 1}), 1.0)
    assert "sk-secret-1" not in str(event) and event.settings == {name: REDACTED, f"x {REDACTED}": 1}


CREDENTIALS = [
    "https://x/y?token=abc&b=1",
    "https://x/y?access_token=abc%2F1",
    "token%3Dabc",
    'api_key="abc"',
    '{"access_token":"abc"}',
    '{\\"access_token\\": \\"abc\\"}',
    "Authorization: Bearer abc",
    "authorization: basic YWJjOmRlZg==",
    "X-Hume-Api-Key: abc0123456789",
    "Bearer abc0123456789",
    "bearer abcDefGhiJkl",
    "sk-proj-abc012345678",
    "hk_abc01234567890",
    "wss://me:abc@host/x",
    "eyJhbGciabcOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.sig",
    "password=abc",
]
PLAIN = [
    "No user message arrived in time.",
    "bad token: missing",
    "unexpected token: '}'",
    "Bearer realm",
    "the token expired at 12:30",
    "secret is out",
    "key: value",
    "E0714 inactivity_timeout",
]


@pytest.mark.parametrize("said", CREDENTIALS)
async def test_a_sentence_of_the_service_shows_no_credential_of_anybody(said: str) -> None:
    """An error or a close may repeat the address of the primary's own connection, with its token in it."""
    async with fake_evi() as evi:
        evi.history[CHAT] = [
            frames.metadata(),
            frames.error("W1", "odd", f"cannot open {said} now"),
            frames.tool_error("call_1", f"failed: {said}"),
            frames.user(f"I said {said}", 100),
        ]
        async with supervising(evi) as server, agent_on(server) as agent:
            await agent.call("attach_chat", chat_id=CHAT)
            await evi.close(CHAT, 1000, f"bye, {said}")
            chat = await agent.until_state("ended")
            page = await agent.call("read_events", chat_id=CHAT)
    shown = {event["type"]: event for event in page["events"]}
    for text in (shown["error"]["error"], shown["tool_error"]["error"], chat["reason"], shown["chat_state"]["reason"]):
        assert "abc" not in text and REDACTED in text, text
    assert shown["user_message"]["text"] == f"I said {said}", "what people say is not a sentence of the service"


@pytest.mark.parametrize("said", PLAIN)
def test_a_sentence_without_a_credential_stays_as_it_is(said: str) -> None:
    """A reason with its word taken out is none."""
    assert without_credentials(said) == said
