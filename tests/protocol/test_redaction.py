"""Secrets are taken out by their names and by their values, however a service writes them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.protocol.redaction import REDACTED, Mask, redact
from evi_mcp.views import structure
from tests import frames
from tests.folding import FoldedChat

SECRET = "sk/Zq8+0123456789=="

secrets = st.text(st.sampled_from('ab/+=-_."\n é€😀'), min_size=8, max_size=20).filter(str.strip)


@given(secrets, st.integers(0, 2), st.booleans(), st.booleans())
def test_a_secret_is_found_in_json_within_json(secret: str, layers: int, ascii_only: bool, slashes: bool) -> None:
    """A tool call's parameters are JSON in JSON, and views parse them: an escaped secret would come out plain."""
    said = secret
    for _ in range(layers):
        said = json.dumps(said, ensure_ascii=ascii_only)[1:-1]
        said = said.replace("/", "\\/") if slashes else said
    mask = Mask([secret])
    assert mask(f"x {said} y").replace(REDACTED, "") == "x  y"
    masked = mask(json.dumps({"a": said}, ensure_ascii=ascii_only))
    assert json.loads(masked)["a"].replace(REDACTED, "") == "", "what is masked is still JSON"


def every_escaped(text: str) -> str:
    return "".join(f"\\u{ord(character):04X}" for character in text)


@pytest.mark.parametrize(
    "frame",
    [
        frames.metadata().replace("group-1", SECRET),
        frames.metadata().replace("group-1", every_escaped(SECRET)),
        frames.frame("x" * 250 + SECRET),
        json.dumps({"x": "audio_output", "type": "chat_metadata", "chat_id": "c", "chat_group_id": SECRET}),
        json.dumps({"x": "audio_output", "type": "error", "code": "c" * 245 + SECRET}),
        frames.audio("m" * 245 + SECRET),
        frames.user("hi", scores={"a" * 30 + SECRET: 0.9}),
        frames.error("c" * 245 + SECRET),
        frames.user("w" * (256 * 1024 - 10) + SECRET),
        frames.tool_call("call_1", parameters=json.dumps({"k": SECRET}).replace("/", "\\/")),
        frames.tool_call("call_1", parameters=f'{{"k": "{every_escaped(SECRET)}"}}'),
    ],
    ids=lambda frame: frame[:40],
)
def test_no_part_of_a_secret_is_kept_wherever_a_service_repeats_it(frame: str) -> None:
    """It is looked for before anything is cut: half a key in a log is half a key too much."""
    chat = FoldedChat(max_audio=9999, mask=Mask([SECRET]))
    events = chat.receive(frame, 1.0)
    seen = f"{events} {list(chat.audio)} {structure.chat(chat.record, chat.ledger.cursors, 2.0)}"
    assert len(events) == 1 and "sk/Zq8" not in seen and REDACTED in seen


def test_what_is_no_json_is_kept_as_text() -> None:
    """Python reads NaN and writes it too, and then no client can read the resource in which it stands."""
    kept = redact({"a": [float("nan"), float("inf")], "b": 1.5})
    assert json.loads(json.dumps(kept, allow_nan=False)) == {"a": ["nan", "inf"], "b": 1.5}


def test_scores_beyond_all_measure_spoil_no_mean() -> None:
    """Two of 1e308 in one turn have an infinite sum, which is no JSON: the chat could not be shown any more."""
    chat = FoldedChat()
    for begin in (1, 2):
        chat.receive(frames.user("hi", begin, scores={"Anger": 1e308, "Joy": 0.5}), 1.0)
    [turn] = structure.chat(chat.record, chat.ledger.cursors, 2.0)["last_turns"]
    assert turn["expression"] == {"Joy": 0.5}
