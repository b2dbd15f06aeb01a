"""Decoding: whatever comes is taken in, nothing raises, and no secret is kept."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.chat.events import CHAT_STATE, COMMAND, PROTOCOL_FAULT
from evi_mcp.chat.facts import facts_of
from evi_mcp.protocol import messages, parts
from evi_mcp.protocol.codec import decode
from evi_mcp.protocol.identity import identify
from evi_mcp.protocol.prosody import SCORE_NAMES, strongest
from tests import frames

EXAMPLES: list[tuple[str, type[messages.Message]]] = [
    (frames.metadata(), messages.ChatMetadata),
    (frames.user("hi", 5), messages.UserMessage),
    (frames.typed("hi"), messages.UserMessage),
    (frames.assistant("hi"), messages.AssistantMessage),
    (frames.prosody(), messages.AssistantProsody),
    (frames.audio(), messages.AudioOutput),
    (frames.end(), messages.AssistantEnd),
    (frames.interruption(), messages.UserInterruption),
    (frames.tool_call(), messages.ToolCall),
    (frames.tool_response(), messages.ToolResponse),
    (frames.tool_error(), messages.ToolError),
    (frames.settings(system_prompt="x"), messages.SessionSettings),
    (frames.error(), messages.ErrorMessage),
]


@pytest.mark.parametrize(("frame", "model"), EXAMPLES, ids=lambda value: getattr(value, "__name__", ""))
def test_each_documented_message_becomes_its_model(frame: str, model: type[messages.Message]) -> None:
    """Twelve messages are documented (Hume's `SubscribeEvent`)."""
    assert type(decode(frame)) is model


def test_the_documented_types_are_all_there() -> None:
    """The set of models is the set of the reference, no more and no less."""
    assert set(messages.KNOWN_TYPES) == {
        *("assistant_end", "assistant_message", "assistant_prosody", "audio_output", "chat_metadata", "error"),
        *("user_interruption", "user_message", "tool_call", "tool_response", "tool_error", "session_settings"),
        "user_prosody",  # a bot's link's: EVI sends it with the message
    }


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
field_names = st.sampled_from(sorted({name for model in messages.KNOWN_TYPES.values() for name in model.model_fields}))


@given(st.sampled_from(sorted(messages.KNOWN_TYPES)), st.dictionaries(field_names, json_values, max_size=6))
def test_no_value_in_any_field_of_a_known_type_costs_the_message(kind: str, fields: dict[str, Any]) -> None:
    """A live chat goes on whatever one field holds; the type is what agents are told at least."""
    message = decode(json.dumps({**fields, "type": kind}))
    assert type(message) is messages.KNOWN_TYPES[kind]
    identify(message)


TEXT_FIELDS = sorted(
    (kind, name)
    for kind, model in messages.KNOWN_TYPES.items()
    for name, field in model.model_fields.items()
    if field.annotation == str | None and name != "data"
)


@pytest.mark.parametrize(("kind", "name"), TEXT_FIELDS)
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"place": "Lyon", "n": [1, None]}, '{"place":"Lyon","n":[1,null]}'),
        (["é"], '["é"]'),
        (7, "7"),
        (0, "0"),
        (1.5, "1.5"),
        (True, "true"),
        ("text", "text"),
        ("", ""),
        (None, None),
    ],
)
def test_another_json_type_in_a_text_field_is_its_json_text(
    kind: str, name: str, value: Any, shown: str | None
) -> None:
    """It used to vanish without a word: a tool's parameters, an answer's content, an id."""
    assert getattr(decode(json.dumps({"type": kind, name: value})), name) == shown


def test_words_without_a_role_around_them_are_what_was_said() -> None:
    for words, content in (("Hello", "Hello"), (["a", 1], '["a",1]'), ({"content": {"a": 1}}, '{"a":1}')):
        message = decode(json.dumps({"type": "assistant_message", "id": "m", "message": words}))
        assert isinstance(message, messages.AssistantMessage)
        assert message.message is not None and message.message.content == content


def test_a_wrong_value_costs_no_other() -> None:
    """Not even those beside it in one field."""
    message = decode(
        '{"type": "user_message", "time": {"begin": 1000.4, "end": "late"}, "from_text": [], "language": "fr",'
        ' "message": {"content": "hi", "tool_call": 7}, "models": {"prosody": {"scores": {"Joy": 0.5, "Awe": []}}}}'
    )
    assert isinstance(message, messages.UserMessage)
    assert message.time == parts.Interval(begin=1000, end=None)
    assert message.message is not None and message.message.content == "hi"
    assert message.models is not None and message.models.prosody is not None
    assert message.models.prosody.scores == {"Joy": 0.5}
    assert (message.from_text, message.language) == (False, "fr")


@pytest.mark.parametrize("frame", [frame for frame, _ in EXAMPLES])
def test_a_binary_frame_and_a_byte_order_mark_change_nothing(frame: str) -> None:
    """JSON is UTF-8, and readers may ignore a mark (RFC 8259, section 8.1); as a fault, all speech would be gone."""
    for same in (frame.encode(), f"\ufeff{frame}", f"\ufeff{frame}".encode()):
        assert decode(same) == decode(frame)


@pytest.mark.parametrize(
    ("fields", "required"),
    [
        ({}, True),
        ({"tool_type": "function"}, True),
        ({"tool_type": None}, True),
        ({"tool_type": "builtin"}, False),
        ({"tool_type": "BUILTIN"}, False),
        ({"tool_type": "builtin", "response_required": None}, False),
        ({"tool_type": "builtin", "response_required": True}, True),
        ({"tool_type": "function", "response_required": False}, False),
    ],
)
def test_a_builtin_tool_needs_no_answer_unless_the_call_says_so(fields: dict[str, Any], required: bool) -> None:
    """EVI answers its own tools (Hume's guide on tool use): taken for a function, one would be answered twice."""
    message = decode(json.dumps({"type": "tool_call", "tool_call_id": "t", **fields}))
    assert isinstance(message, messages.ToolCall)
    assert message.response_required is required


@pytest.mark.parametrize("kind", [CHAT_STATE, COMMAND, PROTOCOL_FAULT])
def test_a_type_of_ours_that_the_service_sends_is_never_taken_for_ours(kind: str) -> None:
    """Agents would read it as the state of the chat, or as what another agent did."""
    assert kind in messages.RESERVED_TYPES
    message = decode(json.dumps({"type": kind, "state": "ended", "reason": "made up"}))
    assert isinstance(message, messages.UnknownMessage)
    assert message.type == f"service:{kind}"
    assert facts_of(message).keys() == {"type", "content"}


def test_a_long_number_costs_no_message() -> None:
    """Python reads some 4,300 digits at most, by default."""
    message = decode('{"type": "assistant_message", "id": "m", "new": ' + "9" * 5000 + "}")
    assert isinstance(message, messages.AssistantMessage) and message.id == "m"


@given(st.text() | st.binary() | json_values.map(json.dumps))
def test_no_frame_raises(frame: str | bytes) -> None:
    """What cannot be read becomes a fault in the log, never a crash."""
    identify(decode(frame))


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"\x00", "not JSON"),
        (b"\xff", "a binary frame that is not UTF-8"),
        ("", "not JSON"),
        ("{", "not JSON"),
        ("7", "JSON, but not an object"),
        ("{}", "an object without a type"),
        ('{"type": 7}', "an object without a type"),
        ('{"type": ""}', "an object without a type"),
        ("[" * 100_000, "not JSON"),
        ('{"type": "x", "n": ' + "9" * 10_000 + "e999999}", None),
    ],
)
def test_a_frame_that_is_no_message_becomes_a_fault_that_says_why(frame: str | bytes, reason: str | None) -> None:
    """It is counted and reported. The frame itself is not kept, for it may hold anything."""
    message = decode(frame)
    if reason is not None:
        assert isinstance(message, messages.ProtocolFault)
        assert (message.reason, message.size) == (reason, len(frame.encode() if isinstance(frame, str) else frame))


def test_unknown_types_and_unknown_fields_are_kept() -> None:
    """The set of types is open: `session_settings` itself joined it weeks after the control plane's launch."""
    unknown = decode('{"type": "chat_paused", "by": {"who": "x"}}')
    assert isinstance(unknown, messages.UnknownMessage)
    assert unknown.payload == {"type": "chat_paused", "by": {"who": "x"}}
    known = decode('{"type": "assistant_end", "turn": 3}')
    assert known.model_extra == {"turn": 3}


def test_one_odd_score_costs_no_other_and_fewer_than_48_are_fine() -> None:
    """The schema asks for all 48; Hume's Python SDK drops the whole message otherwise."""
    odd = {"Joy": 0.5, "Anger": "high", "Fear": None, "Pride": -0.01, "Awe": 10**400}
    message = decode(frames.user("hi", 1, scores=odd))
    assert isinstance(message, messages.UserMessage)
    assert message.models and message.models.prosody
    assert message.models.prosody.scores == {"Joy": 0.5, "Pride": -0.01}
    assert message.time and message.time.begin == 1


def test_a_type_that_one_guide_spells_differently_is_read_as_it_is_meant() -> None:
    """One documentation page has `assistant_PROSODY`."""
    assert isinstance(decode('{"type": "assistant_PROSODY", "id": "m"}'), messages.AssistantProsody)


def test_half_a_character_is_replaced_so_that_the_rest_can_be_shown() -> None:
    """A lone surrogate is legal JSON and cannot be written as UTF-8 again: it would break the client's stream."""
    message = decode('{"type": "assistant_message", "id": "m", "message": {"content": "a\\ud83d b"}}')
    assert isinstance(message, messages.AssistantMessage) and message.message
    assert str(message.message.content).encode()
    assert str(message.message.content).startswith("a")


@given(st.sampled_from(["session_settings", "something_new"]), st.sampled_from(["", "metadata", "variables"]))
def test_a_secret_is_nowhere_in_a_decoded_message(kind: str, inside: str) -> None:
    """`language_model_api_key` may come inbound; other names are taken for secrets by how they end."""
    secrets = dict.fromkeys(("language_model_api_key", "apiKey", "access_token", "client_secret"), "s3cret")
    message = decode(json.dumps({"type": kind, **({inside: {"deep": [secrets]}} if inside else secrets)}))
    assert "s3cret" not in repr(message) + message.model_dump_json() + repr(message.model_extra)


def test_the_strongest_scores_come_first_and_to_two_decimals() -> None:
    """Our contract (section 4); equal ones are ordered by name, so that two readers see the same."""
    assert list(strongest({"Joy": 0.114, "Awe": 0.5, "Anger": 0.5, "Fear": 0.1}).items()) == [
        ("Anger", 0.5),
        ("Awe", 0.5),
        ("Joy", 0.11),
    ]
    assert len(set(SCORE_NAMES)) == 48
