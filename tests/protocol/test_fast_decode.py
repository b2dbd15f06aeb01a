"""Fast decoding gives what decoding gives, or nothing."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.chat.facts import facts_of, facts_of_fast
from evi_mcp.protocol.codec import decode
from evi_mcp.protocol.fast_decode import LARGE_AUDIO, FastMessage, decode_audio, decode_fast
from evi_mcp.protocol.identity import identify, identify_fast
from evi_mcp.protocol.messages import AudioOutput
from evi_mcp.protocol.prosody import SCORE_NAMES
from evi_mcp.protocol.scores import MOST_KNOWN, Scores
from tests import frames

WORDS = st.text(max_size=20) | st.sampled_from(['"', "\\", '"data": "', "\ud83d", "user_message"])
NUMBERS = st.floats() | st.integers(-(2**70), 2**70) | st.just(10**400)
SCORES = st.dictionaries(st.sampled_from(SCORE_NAMES), st.floats(-1, 1) | st.integers(0, 1)) | st.dictionaries(
    st.sampled_from(SCORE_NAMES) | WORDS, NUMBERS | st.none() | st.booleans() | WORDS | st.just({"deep": 1}), max_size=5
)
ODD = st.none() | st.booleans() | NUMBERS | WORDS | st.lists(st.integers(), max_size=2) | SCORES
MESSAGE = {"role": st.sampled_from(["user", "assistant"]) | ODD, "content": WORDS | ODD, "tool_call": ODD, "new": ODD}
FIELDS: dict[str, Any] = {
    "message": st.fixed_dictionaries({}, optional=MESSAGE) | ODD,
    "models": st.fixed_dictionaries({}, optional={"prosody": st.fixed_dictionaries({"scores": SCORES | ODD}) | ODD})
    | ODD,
    "time": st.fixed_dictionaries({}, optional={"begin": st.integers() | ODD, "end": st.integers() | ODD}) | ODD,
    "from_text": st.booleans() | ODD,
    "interim": st.booleans() | ODD,
    "is_quick_response": st.booleans() | ODD,
    "id": WORDS | ODD,
    "index": st.integers() | ODD,
    "data": st.just("UklGRg==") | ODD,
    "custom_session_id": ODD,
    "new": ODD,
}
RIGHT: dict[str, Any] = {
    "message": st.fixed_dictionaries({"role": WORDS, "content": WORDS}),
    "models": st.fixed_dictionaries({"prosody": st.fixed_dictionaries({"scores": SCORES})}) | st.just({}),
    "time": st.fixed_dictionaries({"begin": st.integers(), "end": st.integers()}),
    "id": WORDS,
    "index": st.integers(),
    "data": WORDS,
}
TYPES = ("user_message", "assistant_message", "assistant_prosody", "audio_output", "assistant_end", "tool_call", "new")


@st.composite
def made(draw: Any) -> str:
    """A frame of any type, with most fields right and a few of them wrong, missing or twice, in any order."""
    fields = draw(st.fixed_dictionaries({"type": st.sampled_from(TYPES), **RIGHT}))
    fields |= draw(
        st.dictionaries(st.sampled_from(sorted(FIELDS)), st.none(), max_size=2).flatmap(
            lambda names: st.fixed_dictionaries({name: FIELDS[name] for name in names})
        )
    )
    fields = {name: fields[name] for name in draw(st.permutations(list(fields)))}
    for name in draw(st.sets(st.sampled_from(sorted(fields)), max_size=1)):
        if name != "type":
            del fields[name]
    frame = json.dumps(fields, ensure_ascii=draw(st.booleans()))
    twice = draw(st.none() | st.sampled_from([*FIELDS, "type"]))
    if twice:
        value = json.dumps(draw(FIELDS.get(twice, st.sampled_from(TYPES))))
        frame = f'{frame[:-1]}, "{twice}": {value}}}'
    return frame


def fast(frame: str) -> FastMessage | None:
    found = decode_fast(frame)
    return found if found is not None else decode_audio(frame)


def both(frame: str) -> None:
    found = fast(frame)
    if found is None:
        return
    message = decode(frame)
    assert identify_fast(found) == identify(message)
    blank = dict.fromkeys(facts_of(message) | facts_of_fast(found))
    assert {**blank, **facts_of_fast(found)} == {**blank, **facts_of(message)}
    assert found.data == (message.data if isinstance(message, AudioOutput) else None)


@given(made())
def test_what_is_decoded_fast_is_what_would_have_been_decoded(frame: str) -> None:
    """A replay may bring an event in a form that cannot be decoded fast: it must be the same event all the same."""
    both(frame)


@given(made(), st.data())
def test_a_broken_frame_is_decoded_fast_only_as_it_would_be_decoded(frame: str, data: Any) -> None:
    """The chaos of a line: any cut, any character gone wrong."""
    at = data.draw(st.integers(0, len(frame)))
    wrong = data.draw(
        st.sampled_from(["", '"', "}", "\\", "x", "\n", "\ufeff", "\\ud83d", ",1", "9" * 4999, ':NaN,""'])
    )
    both(frame[:at] + wrong + frame[at + data.draw(st.integers(0, 2)) :])


LONG = "A" * LARGE_AUDIO


@pytest.mark.parametrize(
    "frame",
    [
        frames.user("hi", 5, scores=dict.fromkeys(SCORE_NAMES, 0.5)),
        frames.user("hi", 5, scores={name: -number / 48 for number, name in enumerate(reversed(SCORE_NAMES))}),
        frames.user("hi", 5, interim=True, scores={}),
        frames.typed("hi"),
        frames.assistant("hi"),
        frames.prosody(),
        frames.audio(),
        frames.audio(data=LONG),
        frames.end(),
    ],
    ids=lambda frame: frame[:70],
)
def test_the_frequent_frames_are_decoded_fast(frame: str) -> None:
    """Else nothing would be gained, and nobody would notice."""
    assert fast(frame) is not None
    both(frame)


def twice(frame: str, field: str) -> str:
    return f"{frame[:-1]}, {field}}}"


@pytest.mark.parametrize(
    "frame",
    [
        frames.user("hi", scores={"Anger": float("nan")}),
        frames.user("hi", scores={"Anger": 10**400}),
        frames.user("hi", scores={"Anger": 1000.5}),
        frames.user("hi", scores={"Anger": True}),
        frames.user("hi", scores={"sk-secret-key-of-somebody": 1.0}),
        frames.user("hi", 2**53 + 1),
        frames.user("half a character: \ud83d"),
        twice(frames.user("hi"), '"type": "assistant_end"'),
        twice(frames.end(), '"n": NaN'),
        frames.assistant("hi", id=None),
        frames.audio(id="m" * 257),
        frames.audio(index=True),
        twice(frames.audio(), '"index": 1.5'),
        twice(frames.audio(), '"type": "audio_input"'),
        twice(frames.audio(data=LONG), '"data": ["' + LONG + '"]'),
        frames.tool_call(),
        f"\ufeff{frames.end()}",
        "null",
        "[1]",
        "",
    ],
    ids=lambda frame: ascii(frame[:50]),
)
def test_what_is_not_exactly_as_documented_is_left_to_decoding(frame: str) -> None:
    """Leniency and masking have one place each, and it is not this one."""
    assert fast(frame) is None


@pytest.mark.parametrize("large", [False, True])
def test_what_stands_twice_counts_as_it_stood_last(large: bool) -> None:
    """JSON leaves it open (RFC 8259, section 4); both decoders have to read the same."""
    frame = twice(frames.audio("m-1", data=LONG if large else "UklG"), '"id": "m-2"')
    found = fast(frame)
    assert found is not None and found.id == "m-2"
    both(frame)


@given(st.dictionaries(st.text(max_size=5), st.floats(-1, 1)))
def test_packed_scores_are_the_mapping_that_they_were_made_of(plain: dict[str, float]) -> None:
    """Whoever reads them must not notice."""
    packed = Scores(plain)
    assert packed == plain and list(packed.items()) == list(plain.items())
    assert list(packed.values()) == list(plain.values())
    assert all(packed[name] == score for name, score in plain.items())
    assert packed.get("no such") is None and len(packed) == len(plain)


def test_names_that_nobody_has_twice_do_not_pile_up() -> None:
    """A service with a thousand sets of names would fill the table for ever."""
    for number in range(MOST_KNOWN * 2):
        assert dict(Scores({f"new {number}": 0.5})) == {f"new {number}": 0.5}
    assert Scores({"last": 1.0})["last"] == 1.0


@given(st.lists(st.just(float("nan")) | st.floats(-1, 1), min_size=48, max_size=48))
def test_scores_that_did_not_come_are_none(values: list[float]) -> None:
    """A score that is missing is not 0: the voice may not have been asked for it."""
    came = {name: value for name, value in zip(SCORE_NAMES, values, strict=True) if value == value}
    packed = Scores.of_evi(tuple(values))
    assert (dict(packed) if packed is not None else {}) == came
