"""Skimming says what decoding says, or nothing."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.chat.facts import facts_of, facts_of_skimmed
from evi_mcp.protocol.codec import decode
from evi_mcp.protocol.fast_decode import skim
from evi_mcp.protocol.identity import identify, identify_skimmed
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


def both(frame: str) -> None:
    skimmed = skim(frame)
    if skimmed is None:
        return
    message = decode(frame)
    assert identify_skimmed(skimmed) == identify(message)
    blank = dict.fromkeys(facts_of(message) | facts_of_skimmed(skimmed))
    assert {**blank, **facts_of_skimmed(skimmed)} == {**blank, **facts_of(message)}
    assert skimmed.data == (message.data if isinstance(message, AudioOutput) else None)


@given(made())
def test_what_is_skimmed_is_what_would_have_been_decoded(frame: str) -> None:
    """A replay may bring an event in a form that cannot be skimmed: it must be the same event all the same."""
    both(frame)


@given(made(), st.data())
def test_a_broken_frame_is_skimmed_only_as_it_would_be_decoded(frame: str, data: Any) -> None:
    """The chaos of a line: any cut, any character gone wrong."""
    at = data.draw(st.integers(0, len(frame)))
    wrong = data.draw(st.sampled_from(["", '"', "}", "\\", "x", "\n"]))
    both(frame[:at] + wrong + frame[at + data.draw(st.integers(0, 2)) :])


@pytest.mark.parametrize(
    "frame",
    [
        frames.user("hi", 5, scores=dict.fromkeys(SCORE_NAMES, 0.5)),
        frames.user("hi", 5, interim=True, scores={}),
        frames.typed("hi"),
        frames.assistant("hi"),
        frames.prosody(),
        frames.audio(),
        frames.end(),
    ],
)
def test_the_frequent_frames_are_skimmed(frame: str) -> None:
    """Else nothing would be gained, and nobody would notice."""
    assert skim(frame) is not None
    both(frame)


@pytest.mark.parametrize(
    "frame",
    [
        frames.user("hi", scores={"Anger": float("nan")}),
        frames.user("hi", scores={"Anger": 10**400}),
        frames.user("hi", scores={"sk-secret-key-of-somebody": 1.0}),
        frames.assistant("hi", id=None),
        frames.tool_call(),
        "null",
        "[1]",
        "",
    ],
)
def test_what_is_not_exactly_as_documented_is_left_to_decoding(frame: str) -> None:
    """Leniency and masking have one place each, and it is not this one."""
    assert skim(frame) is None


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
