"""What an event holds of a message: bounded, and what is two stays two."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.chat.facts import MAX_SCORE_NAME, MAX_SCORES, facts_of
from evi_mcp.protocol.codec import decode
from evi_mcp.protocol.cutting import MAX_NAME, MAX_TEXT, cut_name, cut_text
from evi_mcp.protocol.prosody import SCORE_NAMES
from evi_mcp.protocol.redaction import Mask
from evi_mcp.protocol.scores import Scores
from tests import frames

LONG = "x" * 300


@given(st.text(max_size=2 * MAX_NAME), st.text(max_size=2 * MAX_NAME), st.text(max_size=MAX_NAME))
def test_two_names_stay_two_when_they_are_cut(one: str, other: str, beginning: str) -> None:
    """Some providers of tool calls make ids of a thousand characters that begin alike."""
    for first, second in ((one, other), (beginning * 2 + one, beginning * 2 + other)):
        cut = cut_name(first), cut_name(second)
        assert max(map(len, cut)) <= MAX_NAME
        assert (cut[0] == cut[1]) == (first == second)
        assert cut_name(cut[0]) == cut[0]


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        (lambda end: frames.tool_call(LONG + end), "tool_call_id"),
        (lambda end: frames.tool_call(name=LONG + end), "name"),
        (lambda end: frames.tool_response(LONG + end), "tool_call_id"),
        (lambda end: frames.tool_error(LONG + end), "tool_call_id"),
        (lambda end: frames.assistant("hi", LONG + end), "message_id"),
        (lambda end: frames.audio(LONG + end), "message_id"),
        (lambda end: frames.prosody(LONG + end), "message_id"),
        (lambda end: frames.error(code=LONG + end), "code"),
        (lambda end: frames.error(slug=LONG + end), "slug"),
        (lambda end: frames.frame(LONG + end), "type"),
    ],
)
def test_ids_that_begin_alike_are_not_one(frame: Any, field: str) -> None:
    one, other, again = (facts_of(decode(frame(end)))[field] for end in ("1", "2", "1"))
    assert one != other and one == again and len(one) <= MAX_NAME


def test_names_of_scores_that_begin_alike_are_not_one() -> None:
    scores = {f"{'x' * MAX_SCORE_NAME}{number}": number / 1000 for number in range(2 * MAX_SCORES)}
    kept = facts_of(decode(frames.user("hi", scores=scores)))["scores"]
    assert len(kept) == MAX_SCORES and max(map(len, kept)) <= MAX_SCORE_NAME


def test_scores_under_evis_names_are_packed_and_others_are_searched_for_secrets() -> None:
    """A name may be anything, a secret too; EVI's own hold none, and there are 48 in each message."""
    secret = "sk-secret-key-of-somebody"
    for scores in (dict.fromkeys(SCORE_NAMES, 0.5), {"Joy": True}):
        assert isinstance(facts_of(decode(frames.user("hi", scores=scores)))["scores"], Scores)
    facts = Mask([secret]).fields(facts_of(decode(frames.user("hi", scores={"Joy": 0.5, secret: 1.0}))))
    assert facts["scores"] == {"Joy": 0.5, "[redacted]": 1.0}


@given(st.integers(0, 3))
def test_a_long_text_is_cut_once(over: int) -> None:
    """What is cut says so; cut again, it would say something else."""
    text = "x" * (MAX_TEXT + over)
    assert cut_text(cut_text(text)) == cut_text(text)
    assert cut_text(text).endswith(f"[cut here: {over} more characters were not kept]") == (over > 0)


@pytest.mark.parametrize("binary", [False, True])
def test_a_fault_says_what_was_wrong_and_how_long_it_was(binary: bool) -> None:
    """In bytes, for that is what a limit counts."""
    frame = b"\xff" if binary else "é"
    reason = "a binary frame that is not UTF-8 (1 byte)" if binary else "not JSON (2 bytes)"
    assert facts_of(decode(frame)) == {"type": "protocol_fault", "reason": reason}
