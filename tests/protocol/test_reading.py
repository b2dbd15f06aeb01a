"""Reading frames of any size: what is kept is right, secrets are out of it, and the rest is said to be missing."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.chat.facts import facts_of
from evi_mcp.protocol import messages
from evi_mcp.protocol.codec import decode
from evi_mcp.protocol.cutting import MAX_TEXT
from evi_mcp.protocol.fast_decode import FastMessage
from evi_mcp.protocol.identity import identify
from evi_mcp.protocol.reading import LARGE_FRAME, MAX_FIELDS, VERY_LARGE_FRAME, is_large, read
from evi_mcp.protocol.redaction import MAX_DEPTH, TOO_DEEP, Mask
from tests import frames

SECRET = "sk-Some/0123+456=="
MASK = Mask([SECRET])
PADDING = {"large": LARGE_FRAME, "very large": VERY_LARGE_FRAME, "of many values": VERY_LARGE_FRAME}


def padded(size: str, kind: str, **fields: Any) -> str:
    """A frame of this size, for it holds something beside its fields that no schema names."""
    much: Any = ["x"] * PADDING[size] if size == "of many values" else "x" * PADDING[size]
    return frames.frame(kind, **fields, something_new=much)


def read_as(model: type[Any], frame: str | bytes) -> Any:
    message = read(frame, MASK)
    assert type(message) is model
    return message


@pytest.mark.parametrize("size", PADDING)
@pytest.mark.parametrize(
    "frame",
    [
        frames.metadata(),
        frames.user("hi", 5),
        frames.assistant("hi"),
        frames.prosody(),
        frames.interruption(),
        frames.tool_call(tool_type="builtin"),
        frames.tool_response(),
        frames.tool_error(),
        frames.error(),
        frames.settings(system_prompt="x", voice_id="v"),
    ],
    ids=lambda frame: json.loads(frame)["type"],
)
def test_a_large_frame_says_what_a_small_one_says(frame: str, size: str) -> None:
    """However much stands beside it that nobody asked for."""
    small, fields = decode(frame), json.loads(frame)
    large = padded(size, fields.pop("type"), **fields)
    assert is_large(large)
    message = read_as(type(small), large)
    if isinstance(small, messages.SessionSettings):
        assert message.shown.items() >= small.shown.items()
    else:
        assert (identify(message), facts_of(message)) == (identify(small), facts_of(small))


@pytest.mark.parametrize("size", PADDING)
def test_of_a_large_frame_of_an_unknown_type_its_type_is_known(size: str) -> None:
    message = read_as(messages.UnknownMessage, padded(size, "chat_paused"))
    assert message.type == "chat_paused"
    assert len(str(facts_of(message)["content"])) < MAX_TEXT + 100
    assert read_as(messages.UnknownMessage, padded(size, "command")).type == "service:command"


TEXTS = {
    "plain": "word ",
    "escaped": '"\n\t\x01',
    "Cyrillic": "я",
    "emoji": "👋",
    "with commas": "1,2,",
}


@pytest.mark.parametrize("said", TEXTS.values(), ids=list(TEXTS))
@pytest.mark.parametrize("ascii_only", [False, True])
def test_the_beginning_of_a_very_long_text_is_kept_and_the_cut_is_said(said: str, ascii_only: bool) -> None:
    """A tool may answer with a megabyte; that it has answered must not be lost, nor pass for all there was."""
    whole = said * (3 * MAX_TEXT // len(said))
    frame = json.dumps({"type": "tool_response", "tool_call_id": "t", "content": whole}, ensure_ascii=ascii_only)
    message = read_as(messages.ToolResponse, frame)
    kept, _, note = str(message.content).partition(" [cut here: ")
    assert message.tool_call_id == "t"
    assert whole.startswith(kept) and len(kept) > MAX_TEXT // 2
    assert note.endswith(" more characters were not kept]")
    if said != "👋":  # in what is not read, its JSON is counted
        assert len(kept) == MAX_TEXT


@pytest.mark.parametrize("many", [False, True])
def test_a_large_value_that_is_no_text_is_its_json_text(many: bool) -> None:
    """A service that sends `parameters` as an object sends large ones so, too."""
    value = ["a", 1] * 100_000 if many else ["a" * 2000] * 300
    frame = json.dumps({"type": "tool_call", "tool_call_id": 7, "parameters": value}, separators=(",", ":"))
    message = read_as(messages.ToolCall, frame)
    assert message.tool_call_id == "7"
    assert message.parameters.startswith(json.dumps(value, separators=(",", ":"))[:MAX_TEXT])


@pytest.mark.parametrize("fill", ["x", '"x', "я"])
@pytest.mark.parametrize("spelled", [SECRET, SECRET.replace("/", "\\/"), SECRET.replace("s", "\\u0073")])
@pytest.mark.parametrize("many", [False, True])
def test_no_part_of_a_secret_is_kept_where_a_text_is_cut(fill: str, spelled: str, many: bool) -> None:
    """Half a secret would not be known for one."""
    for place in range(-40, 10, 7):
        filled = (fill * MAX_TEXT)[: MAX_TEXT + place]
        content = json.dumps(filled, ensure_ascii=False)[1:-1]
        beside = ', "new": [' + "1," * VERY_LARGE_FRAME + "1]" if many else ""
        frame = f'{{"type": "tool_response", "content": "{content}{spelled} and {spelled * 2000}"{beside}}}'
        kept = str(read_as(messages.ToolResponse, frame).content).partition(" [cut here: ")[0]
        assert len(kept) > MAX_TEXT // 2
        rest = kept.removeprefix(filled[: len(kept)])
        assert "sk" not in rest and "\\u0073" not in rest and "0123" not in rest


@pytest.mark.parametrize("size", PADDING)
def test_a_secret_is_nowhere_in_a_large_message(size: str) -> None:
    """Neither a known one, nor what has the name of one, at any depth."""
    deep = [{"at": {"api_key": "unknown", SECRET: SECRET}}]
    for kind in ("session_settings", "something_new"):
        message = read(padded(size, kind, metadata=deep, language_model_api_key="unknown", id=SECRET), MASK)
        assert isinstance(message, messages.Message)
        shown = repr(message) + repr(facts_of(message)) + repr(message.model_extra)
        assert SECRET not in shown and "unknown" not in shown


def test_of_many_fields_the_first_are_kept_and_the_rest_is_counted() -> None:
    many = {f"field {number}": "x" * 3000 for number in range(200)}
    message = read_as(messages.UnknownMessage, frames.frame("something_new", **many))
    assert message.payload["left_out"] == f"{201 - MAX_FIELDS} more fields"
    assert str(message.payload["field 1"]).startswith("xxx")


@pytest.mark.parametrize("size", PADDING)
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda frame: f"[{frame}]", id="an array"),
        pytest.param(lambda frame: frame[:-1], id="cut"),
        pytest.param(lambda frame: f"nonsense {frame}", id="no JSON"),
        pytest.param(lambda frame: frame.replace('"type": "x"', '"type": 7'), id="a number as type"),
        pytest.param(lambda frame: frame.replace('"type": "x"', '"t": "x"'), id="no type"),
    ],
)
def test_a_large_frame_that_is_no_message_is_a_fault(spoil: Callable[[str], str], size: str) -> None:
    assert read_as(messages.ProtocolFault, spoil(padded(size, "x"))).size > LARGE_FRAME


def test_a_large_binary_frame_is_read_like_text() -> None:
    frame = b"\xef\xbb\xbf" + padded("large", "tool_response", content="in it").encode()
    assert read_as(messages.ToolResponse, frame).content == "in it"


@pytest.mark.parametrize("size", PADDING)
def test_half_a_character_costs_no_large_message(size: str) -> None:
    """Whoever cuts a text may cut an emoji in two."""
    frame = padded(size, "tool_response", content="cut: \ud83d")
    message = read(frame, MASK)
    if size == "of many values":
        assert isinstance(message, messages.ProtocolFault)  # the limit of what can be read of it
    else:
        assert isinstance(message, messages.ToolResponse) and str(message.content).startswith("cut: ")


def test_what_nests_too_deeply_is_left_out_of_a_large_frame() -> None:
    deep: Any = "x"
    for _ in range(100):
        deep = [deep]
    message = read_as(messages.ToolCall, padded("large", "tool_call", parameters=deep, name="t"))
    assert message.name == "t" and message.parameters == "[" * (MAX_DEPTH + 1) + f'"{TOO_DEEP}"' + "]" * (MAX_DEPTH + 1)


@given(st.text(max_size=30), st.sampled_from([frames.end(), frames.audio(), frames.tool_call(), "[]", "{"]))
def test_reading_a_small_frame_is_decoding_it(said: str, frame: str) -> None:
    for given_frame in (frame, frames.user(said, 5), frames.typed(said)):
        message, decoded = read(given_frame, Mask()), decode(given_frame)
        same = message.type if isinstance(message, FastMessage) else message
        assert same == (decoded.type if isinstance(message, FastMessage) else decoded)
