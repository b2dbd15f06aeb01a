"""The record and its views hold whatever a service sends; this is the short form of `make fuzz`."""

import importlib.util
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.protocol.messages import KNOWN_TYPES
from tests.fuzz import script
from tests.fuzz.mutate import SEEDS, mutated

FOUND = sorted((Path(__file__).parent / "found").iterdir())
ALL_SEEDS = "\n".join(SEEDS).encode()

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
any_line = (
    st.sampled_from(SEEDS).map(str.encode)
    | st.builds(mutated, st.sampled_from(SEEDS).map(str.encode), st.randoms(use_true_random=False))
    | st.builds(lambda kind, value: json.dumps({"type": kind, "message": value}).encode(), st.text(), any_json)
    | any_json.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=100)
    | st.builds(
        bytes.__add__,
        st.sampled_from([b"!", b"+", b"++", b"+++", b"\xef\xbb\xbf", b"!\xef\xbb\xbf"]),
        st.sampled_from(SEEDS).map(str.encode),
    )
    | st.just(b"")
)


def test_the_seeds_are_of_all_types() -> None:
    """What is never tried proves nothing."""
    assert {json.loads(seed)["type"] for seed in SEEDS} >= set(KNOWN_TYPES)


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_what_a_fuzzer_has_found_stays_mended(path: Path) -> None:
    """Each of these broke something once; `git log` of the file says what."""
    script.run(path.read_bytes())
    script.replayed_as_it_was(path.read_bytes())


@given(st.lists(any_line, max_size=12).map(b"\n".join))
def test_any_chat_can_be_taken_in_and_shown(chat: bytes) -> None:
    """Any JSON, any bytes, and real frames with changes: nothing raises, all that is shown is sound."""
    script.run(chat)


@given(st.lists(any_line, max_size=12).map(b"\n".join))
def test_any_chat_that_is_replayed_as_it_was_brings_nothing_new(chat: bytes) -> None:
    """Our contract (section 4): no event is logged twice, be it ever so odd."""
    script.replayed_as_it_was(chat)


def test_a_thousand_changes_on_end_break_nothing() -> None:
    """Mutations of mutations, always the same ones: what hypothesis, which starts anew each time, does not reach."""
    rng = random.Random(20261122)
    pool = [ALL_SEEDS, *(seed.encode() for seed in SEEDS)]
    for _ in range(1000):
        chat = mutated(rng.choice(pool), rng)
        script.run(chat)
        script.replayed_as_it_was(chat)
        if rng.random() < 0.1:
            pool.append(chat)


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="the extra `fuzz` is not installed")
def test_a_run_that_follows_coverage_finds_nothing() -> None:
    """A few seconds of `make fuzz`, so that the fuzzer itself is known to run."""
    command = [sys.executable, "-m", "tests.fuzz", "--seed", "1", "--seconds", "60", "--runs", "500"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Done 500 runs" in done.stderr
