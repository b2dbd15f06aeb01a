"""What is kept of EVI's voice: bounded, whole messages, the oldest dropped first."""

from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.chat import audio
from evi_mcp.chat.audio import OVERHEAD, AudioStore, Loss
from tests import frames
from tests.folding import FoldedChat

Chunk = tuple[str, int, int]
CHUNKS = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 5), st.integers(0, 900)), max_size=60)


def data(chunk: Chunk) -> str:
    message_id, index, size = chunk
    return f"{message_id}{index}".ljust(size, "A")[:size]


@given(CHUNKS, st.integers(1, 6000))
def test_what_is_kept_is_whole_and_within_the_limit_and_what_goes_is_the_oldest(came: list[Chunk], most: int) -> None:
    """Our contract (section 6): half a message, or memory without bound, would be worse than none."""
    store = AudioStore(most)
    everything: dict[str, dict[int, str]] = {}
    for chunk in came:
        before = list(store)
        message_id, index, _ = chunk
        store.keep(message_id, index, data(chunk))
        everything.setdefault(message_id, {}).setdefault(index, data(chunk))

        kept = {name: dict(store.chunks(name) or []) for name in store}
        assert store.size == sum(OVERHEAD + len(text) for voice in kept.values() for text in voice.values()) <= most
        assert kept == {name: everything[name] for name in kept}, "all that came of it"
        dropped = [name for name in before if store.loss(name) is Loss.DROPPED]
        assert dropped == before[: len(dropped)], "the oldest first"
        for name in everything:
            assert (store.loss(name) is None) == (name in kept), "whatever is not kept is known to be lost"
            if store.loss(name) is Loss.TOO_LONG:
                assert sum(OVERHEAD + len(text) for text in everything[name].values()) > most


def test_a_message_comes_out_in_the_order_of_its_indices_and_each_chunk_once() -> None:
    """Hume numbers the chunks of a message; nothing promises their order, and a replay repeats them."""
    store = AudioStore(10_000)
    for index, text in [(2, "c"), (0, "a"), (1, "b"), (0, "again")]:
        store.keep("m-1", index, text)
    assert store.chunks("m-1") == [(0, "a"), (1, "b"), (2, "c")]


def test_chunks_without_a_usable_index_follow_the_others() -> None:
    """A frame with a hole in it still happened; one with a number of thousands of digits must not break anything."""
    store = AudioStore(10_000)
    for index in (0, None, -7, 10**4000):
        store.keep("m-1", index, "x")
    store.keep(None, 0, "x")
    assert [index for index, _ in store.chunks("m-1") or []] == [0, 1, 2, 3]
    assert list(store) == ["m-1"]


def test_what_cannot_be_base64_costs_a_place_and_no_more() -> None:
    """The limit is in characters; those outside ASCII take up to four bytes each."""
    store = AudioStore(10_000)
    store.keep("m-1", 0, "\U0001f50a" * 5000)
    store.keep("m-1", 1, None)
    assert store.chunks("m-1") == [(0, ""), (1, "")]


def test_a_message_longer_than_the_limit_is_not_kept_and_costs_no_other_one() -> None:
    """It could never be whole; what it would push out still is."""
    store = AudioStore(4 * OVERHEAD)
    store.keep("short", 0, "x")
    store.keep("long", 0, "x" * (4 * OVERHEAD))
    store.keep("long", 1, "the rest")
    assert list(store) == ["short"]
    assert store.loss("long") is Loss.TOO_LONG


def test_the_memory_of_what_was_dropped_is_bounded_too() -> None:
    """Every buffer is."""
    store = AudioStore(OVERHEAD + 1)
    for n in range(audio.MAX_DROPPED + 10):
        store.keep(f"m-{n}", 0, "x")
    assert [store.loss(f"m-{n}") for n in (7, 8, 9)] == [None, None, Loss.DROPPED]
    assert len(store._lost) == audio.MAX_DROPPED


def test_nothing_is_kept_when_it_is_off() -> None:
    """Whoever turned it off meant the memory, and the voices."""
    store = AudioStore(0)
    store.keep("m-1", 0, "x")
    assert (list(store), store.size, store.loss("m-1")) == ([], 0, None)


def test_a_replay_adds_nothing_to_what_was_heard_or_dropped() -> None:
    """EVI replays the chat on every connection, audio perhaps included."""
    chat = FoldedChat(max_audio=3 * OVERHEAD)
    said = [frames.audio(f"m-{n}", index, f"{n}{index}") for n in range(5) for index in (0, 1)]
    for opened in range(3):
        chat.connect_again()
        for frame in said:
            assert bool(chat.receive(frame, 0.0)) == (opened == 0)
    assert {name: chat.audio.chunks(name) for name in chat.audio} == {"m-4": [(0, "40"), (1, "41")]}


def test_audio_that_outlives_the_log_is_still_kept() -> None:
    """The two have limits of their own: the log holds no audio, the store no events."""
    chat = FoldedChat(max_events=2, max_audio=10**6)
    for index in range(20):
        chat.receive(frames.audio("m-1", index, "A" * 1000), 0.0)
    assert len(chat.audio.chunks("m-1") or []) == 20
    assert len(chat.log) == 2
