"""What is kept of a chat, and what is said of the rest."""

import json
import tracemalloc
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.hub.history import MAX_COUNTED_TYPES, History
from evi_mcp.hub.json_frames import write


def add(history: History, type_: str, size: int = 100) -> None:
    history.append(type_, 0, write({"type": type_, "data": "x" * size}))


def replayed(history: History) -> list[Any]:
    return [json.loads(frame) for frame in history.replay()]


def test_what_was_dropped_opens_the_replay_with_counts() -> None:
    """Contract, section 8: said by one message of type `history_truncated`, first in the replay."""
    history = History(max_messages=3)
    for type_ in ("user_message", "user_message", "assistant_message", "assistant_end", "user_message"):
        add(history, type_)
    first, *rest = replayed(history)
    assert (first["type"], first["dropped"]) == ("history_truncated", {"user_message": 2})
    assert "2 user_message" in first["message"], "in words too: that is what a model reads"
    assert [message["type"] for message in rest] == ["assistant_message", "assistant_end", "user_message"]


def test_a_history_from_which_nothing_is_missing_says_nothing_of_it() -> None:
    """The message would be an event for whoever reads it."""
    history = History()
    add(history, "user_message")
    assert [message["type"] for message in replayed(history)] == ["user_message"]


def test_speech_is_not_pushed_out_by_its_sound() -> None:
    """Contract, section 8: audio has a limit of its own."""
    history = History(max_bytes=2_000, max_audio_bytes=2_000)
    for _ in range(5):
        add(history, "assistant_message")
        for _ in range(10):
            add(history, "audio_output", 500)
    kept = [entry.type for entry in history]
    assert kept.count("assistant_message") == 5
    assert history.dropped == {"audio_output": 50 - kept.count("audio_output")}


def test_a_message_larger_than_the_limit_is_dropped_and_counted() -> None:
    """Nothing is kept beyond the limit, be it one message; those who are attached get it all the same."""
    history = History(max_audio_bytes=1_000)
    add(history, "audio_output", 5_000)
    assert [message["dropped"] for message in replayed(history)] == [{"audio_output": 1}]


def test_sizes_are_bytes_and_not_characters() -> None:
    """A bound in characters would be four times as large for emoji."""
    history = History(max_bytes=1_000)
    history.append("user_message", 0, write({"type": "user_message", "text": "\U0001f600" * 300}))
    assert len(history) == 0


def test_a_flood_of_types_is_counted_in_bounded_space() -> None:
    """The names of types come from outside."""
    history = History(max_messages=1)
    for number in range(3 * MAX_COUNTED_TYPES):
        add(history, f"type_{number}")
    assert len(history.dropped) <= MAX_COUNTED_TYPES + 1
    assert history.dropped.total() == 3 * MAX_COUNTED_TYPES - 1


def test_what_no_socket_shows_is_not_replayed() -> None:
    """A pause is in the REST history alone, as EVI has it."""
    history = History()
    history.append("pause_assistant_message", 0, b'{"type":"pause_assistant_message"}', shown=False)
    assert history.replay() == [] and history.event_count == 1


def test_a_full_history_takes_no_more_than_its_limit() -> None:
    """32 MiB of text are 32 MiB of memory, whatever the letters."""
    frame = write({"type": "user_message", "text": "\u0436\U0001f600" * 2_000})
    tracemalloc.start()
    try:
        history = History(max_bytes=2**20)
        for _ in range(1_000):
            history.append("user_message", 0, bytes(bytearray(frame)))
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 1.3 * 2**20


@given(
    st.lists(st.tuples(st.sampled_from(["user_message", "audio_output", "x"]), st.integers(0, 300)), max_size=60),
    st.integers(1, 20),
    st.integers(0, 3_000),
    st.integers(0, 1_500),
)
def test_the_newest_are_kept_in_order_and_the_rest_is_counted(
    added: list[tuple[str, int]], most: int, max_bytes: int, max_audio_bytes: int
) -> None:
    """For any messages and any limits."""
    history = History(most, max_bytes, max_audio_bytes)
    for type_, size in added:
        add(history, type_, size)
    numbers = [entry.number for entry in history]
    assert numbers == sorted(set(numbers))
    assert history.dropped.total() + len(history) == len(added)
    for audio in (True, False):
        places = [place for place, (type_, _) in enumerate(added) if (type_ == "audio_output") is audio]
        kept = [number for number in numbers if number in places]
        assert kept == places[len(places) - len(kept) :], "the newest of each kind"
    assert history.size == sum(len(entry.frame) for entry in history) <= max_bytes + max_audio_bytes
