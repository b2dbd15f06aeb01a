"""What is the same event, in this process and in any other."""

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.protocol.codec import decode
from evi_mcp.protocol.entries import Entry, unpack
from evi_mcp.protocol.identity import MAX_TYPE, Identities, Identity, identify
from tests import frames

ALL = [
    frames.metadata(),
    frames.user("Hello?", 100),
    frames.user("Hel", 100, interim=True),
    frames.typed("Hello?"),
    frames.assistant("Hi.", "m-1"),
    frames.assistant("Hi.", None),
    frames.prosody("m-1"),
    frames.audio("m-1", 3),
    frames.end(),
    frames.interruption(),
    frames.tool_call(),
    frames.tool_response(),
    frames.tool_error(),
    frames.settings(voice_id="v", variables={"b": 1, "a": 2}),
    frames.error(),
    frames.frame("something_new", b=1, a={"c": 2}),
    "{",
]


def digests(salt: bytes) -> list[int]:
    identities = Identities(salt)
    return [identities.of(decode(frame)).digest for frame in ALL]


_ELSEWHERE = """
import json, sys
from evi_mcp.protocol.codec import decode
from evi_mcp.protocol.identity import Identities
identities = Identities(b"salt")
print(json.dumps([identities.of(decode(frame)).digest for frame in json.load(sys.stdin)]))
"""


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_an_identity_is_the_same_in_every_process(hash_seed: str) -> None:
    """Stored identities are of use only if the process that reads them makes the same ones; `hash` is keyed anew."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    arguments = [sys.executable, "-c", _ELSEWHERE]
    run = subprocess.run(arguments, input=json.dumps(ALL), env=environment, capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == digests(b"salt")


def test_an_identity_depends_on_the_salt() -> None:
    """Else somebody on the line could look for two messages with one digest, and hide one of them."""
    assert not set(digests(b"one")) & set(digests(b"two"))
    assert len(set(digests(b"one"))) == len(ALL)


EMPTY = ["", None]


@pytest.mark.parametrize(
    "fields",
    [
        *({"type": "assistant_message", "id": id, "message": {"role": "assistant", "content": "a"}} for id in EMPTY),
        *({"type": "audio_output", "id": id, "index": 0, "data": ""} for id in EMPTY),
        {"type": "audio_output", "id": "m-1", "data": ""},
        *({"type": "assistant_prosody", "id": id, "models": {}} for id in EMPTY),
        *({"type": "tool_call", "tool_call_id": id, "name": "a", "parameters": "{}"} for id in EMPTY),
        *({"type": "tool_response", "tool_call_id": id, "content": "a"} for id in EMPTY),
        *({"type": "tool_error", "tool_call_id": id, "error": "a"} for id in EMPTY),
        *({"type": "user_interruption", "time": time} for time in (0, None)),
        *({"type": "chat_metadata", "chat_id": id} for id in EMPTY),
        *(
            {"type": "user_message", "message": {"role": "user", "content": "a"}, "models": {}, "time": time}
            for time in (None, {}, {"begin": 0, "end": 0}, {"begin": 0}, {"end": 10})
        ),
    ],
    ids=json.dumps,
)
def test_an_empty_or_missing_identity_is_none(fields: dict[str, object]) -> None:
    """Our contract (section 4): many services leave ids and times away, and two such events are still two."""
    assert not identify(decode(json.dumps(fields))).own


def test_ids_are_compared_as_a_whole_however_long_they_are() -> None:
    """What is shown of an id is cut; two that differ behind the cut name two events."""
    makers: list[Callable[[str], str]] = [
        lambda id: frames.assistant("text", id),
        frames.audio,
        frames.prosody,
        frames.tool_call,
        frames.tool_response,
    ]
    for make in makers:
        one, other = (identify(decode(make("x" * 5000 + end))) for end in "ab")
        assert one.digest != other.digest and one.own and other.own


def test_types_that_are_longer_than_is_kept_are_still_two() -> None:
    """A type is stored with each event, so it is bounded; `left out` is reckoned by type."""
    one, other = (identify(decode(frames.frame("t" * 300 + end))) for end in "ab")
    assert one.type != other.type and max(len(one.type), len(other.type)) <= MAX_TYPE


def test_parameters_that_are_spelt_otherwise_are_the_same() -> None:
    """A service may keep the values of a tool call and write them out anew for a replay."""
    spelt = ['{"a": 1, "b": [2]}', '{"b":[2],"a":1}', ' {"a":1,\n"b":[2]} ']
    assert len({identify(decode(frames.tool_call("c", parameters=text))) for text in spelt}) == 1
    others = ["", "not json", '{"a": 2}', "[" * 5000, "1" * 5000]
    assert len({identify(decode(frames.tool_call("c", parameters=text))) for text in [*spelt, *others]}) == 6


@given(st.lists(st.text(alphabet="0:=-a", max_size=4), min_size=3, max_size=3), st.data())
def test_what_stands_in_one_field_never_passes_for_another_one(texts: list[str], data: st.DataObject) -> None:
    """Somebody who chooses words must not be able to make two answers one."""
    others = (
        data.draw(st.permutations(texts))
        if data.draw(st.booleans())
        else data.draw(st.lists(st.text(alphabet="0:=-a", max_size=4), min_size=3, max_size=3))
    )
    one, other = (
        identify(decode(frames.frame("tool_error", tool_call_id=id, error=error, content=content)))
        for id, error, content in (texts, others)
    )
    assert (one.digest == other.digest) == (texts == list(others))


kinds = st.text(max_size=MAX_TYPE).filter(lambda kind: not any("\ud800" <= c <= "\udfff" for c in kind))
entries = st.lists(st.builds(Entry, kinds, st.integers(0, 2**64 - 1), st.booleans(), st.booleans()))


@given(entries)
def test_stored_entries_are_read_as_they_were_written(made: list[Entry]) -> None:
    """They are joined bytes: what is appended is what is read."""
    assert list(unpack(b"".join(entry.pack() for entry in made))) == made


@given(st.binary(max_size=60))
def test_bytes_that_are_no_entries_are_refused_and_break_nothing(packed: bytes) -> None:
    """A store is foreign input: another version, or another program, may have written it."""
    try:
        found = list(unpack(packed))
    except ValueError:
        return
    assert b"".join(entry.pack() for entry in found) == packed


def test_an_entry_of_an_event_is_small() -> None:
    """One for each event of a chat is stored, for its life."""
    sizes = [len(Entry(*identify(decode(frame)), placed=True).pack()) for frame in ALL]
    assert max(sizes) <= 10 + MAX_TYPE and sum(sizes) / len(sizes) < 25


def test_an_identity_says_its_type_and_whether_it_is_its_own() -> None:
    """The rules of `replay` need no more than that."""
    assert identify(decode(frames.end())) == Identity("assistant_end", identify(decode(frames.end())).digest, False)
    assert identify(decode(frames.user("a", 1, interim=True))).type == "interim user_message"
