"""The property that the product stands on: a cursor never loses and never doubles an event.

A chat is a list of frames. A connection gives back its first n frames (less the types that the replay
leaves out), then some live ones, then it breaks, and more happens unseen until the next connection.
"""

import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.protocol.codec import decode
from evi_mcp.protocol.entries import Entry, unpack
from evi_mcp.protocol.history import History
from evi_mcp.protocol.identity import identify
from tests import frames
from tests.chaos.faults import LEFT_OUT
from tests.chaos.talk import Talk

TYPES = (
    "chat_metadata",
    "user_message",
    "assistant_message",
    "assistant_prosody",
    "audio_output",
    "assistant_end",
    "user_interruption",
    "tool_call",
    "tool_response",
    "session_settings",
    "error",
    "something_new",
)


MAKERS: dict[str, Callable[[int, int], str]] = {
    "user": lambda place, n: frames.user(f"text {n}", place * 1000),
    "interim": lambda place, n: frames.user(f"text {n}", place * 1000, interim=True),
    "typed": lambda place, n: frames.typed(f"typed {n}"),
    "assistant": lambda place, n: frames.assistant(f"line {n}", f"m-{place}"),
    "anonymous": lambda place, n: frames.assistant(f"line {n}", None),
    "prosody": lambda place, n: frames.prosody(f"m-{place}"),
    "audio": lambda place, n: frames.audio(f"m-{place}", n),
    "end": lambda place, n: frames.end(),
    "interruption": lambda place, n: frames.interruption(place),
    "tool_call": lambda place, n: frames.tool_call(f"call-{place}"),
    "tool_response": lambda place, n: frames.tool_response(f"call-{place}"),
    "no time": lambda place, n: frames.user(f"yes {n}", 0, end=0),
    "empty id": lambda place, n: frames.assistant(f"line {n}", ""),
    "settings": lambda place, n: frames.settings(voice_id=f"v{n}"),
    "error": lambda place, n: frames.error(code=f"W000{n}"),
    "new": lambda place, n: frames.frame("something_new", n=n),
    "garbage": lambda place, n: "{" * n,
}
"""Frames from a place in the chat and a small number: those with an identity are unique, the others repeat."""
REUSING: dict[str, Callable[[int, int], str]] = {
    "used call id": lambda place, n: frames.tool_call(f"call_{n}"),
    "used message id": lambda place, n: frames.assistant(f"line {n}", f"r-{n}"),
    "used answer id": lambda place, n: frames.tool_response(f"call_{n}"),
    "used audio id": lambda place, n: frames.audio(f"r-{n}", 0),
}
"""The same from a service that uses an id again."""


def build(kinds: list[tuple[str, int]]) -> list[str]:
    """A chat, which begins as all chats do."""
    return [frames.metadata(), *((MAKERS | REUSING)[kind](place, n) for place, (kind, n) in enumerate(kinds))]


def chats_of(*kinds: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.tuples(st.sampled_from(sorted(kinds)), st.integers(0, 2)), max_size=30).map(build)


chats = chats_of(*MAKERS)
reusing_chats = chats_of(*MAKERS, *REUSING)


@dataclass
class Connection:
    """`missed` frames happen before it, `live` frames during it, `quiet` is a gap between replay and live."""

    missed: int
    live: int
    quiet: bool
    left_out: frozenset[str]


Plans = st.SearchStrategy[list[Connection]]


def connections(left_out: st.SearchStrategy[frozenset[str]], quiet: st.SearchStrategy[bool]) -> Plans:
    return st.lists(
        st.builds(Connection, st.integers(0, 6), st.integers(0, 6), quiet, left_out), min_size=1, max_size=6
    )


def follow(chat: list[str], plan: Iterable[Connection]) -> list[str]:
    """What the log holds after following a chat so; the last connection sees it to its end."""
    history, log, now = History(), [], 0
    steps = [*plan, Connection(0, 0, True, frozenset())]
    for number, step in enumerate(steps):
        now = min(len(chat), now + step.missed)
        history.begin_replay()
        log += [f for f in chat[:now] if kind(f) not in step.left_out and history.is_new(identify(decode(f)))]
        if step.quiet:
            history.end_replay()
        upto = len(chat) if number == len(steps) - 1 else min(len(chat), now + step.live)
        log += [f for f in chat[now:upto] if history.is_new(identify(decode(f)))]
        now = upto
    return log


def kind(frame: str) -> str:
    return identify(decode(frame)).type


def new_in(history: History, made: Iterable[str]) -> list[str]:
    return [frame for frame in made if history.is_new(identify(decode(frame)))]


def owned(frames_: Iterable[str]) -> Counter[str]:
    return Counter(f for f in frames_ if identify(decode(f)).own)


@given(reusing_chats, connections(st.just(frozenset()), st.booleans()))
def test_for_any_history_and_any_disconnects_a_complete_replay_makes_the_log_equal_the_history(
    chat: list[str], plan: list[Connection]
) -> None:
    """Our contract (section 4). No quiet gap is needed: a complete replay has to be read right without one."""
    assert follow(chat, plan) == chat


left_out = st.frozensets(st.sampled_from(TYPES), max_size=4)


@given(reusing_chats, connections(left_out, st.just(True)))
def test_whatever_types_a_replay_leaves_out_nothing_is_lost_and_nothing_with_an_identity_is_doubled(
    chat: list[str], plan: list[Connection]
) -> None:
    """Our contract (section 4). The last connection's replay is complete, so all of the chat was seen."""
    log = follow(chat, plan)
    assert not Counter(chat) - Counter(log)
    assert owned(log) == owned(chat)


@given(chats, left_out, st.data())
def test_types_that_every_replay_leaves_out_cost_no_live_event_even_without_a_quiet_gap(
    chat: list[str], left_out: frozenset[str], data: st.DataObject
) -> None:
    """A service that never replays `assistant_end`, say, must not make us swallow the live ones.

    Followed from the start, so that there is proof: something new of a type that the replay holds, and holds whole.
    """
    left_out -= {"assistant_message"}
    known = [chat[0], frames.assistant("first", "first"), *chat[1 : data.draw(st.integers(1, len(chat)))]]
    history = followed_until(known, len(known))
    assert new_in(history, [f for f in known if kind(f) not in left_out]) == []
    assert new_in(history, [proof := frames.assistant("new", "new")]) == [proof]
    for live in known:
        identity = identify(decode(live))
        if identity.type in left_out and not identity.own:
            assert history.is_new(identity), "a live event was swallowed"


@given(chats, st.data())
def test_live_events_among_a_complete_replay_are_neither_lost_nor_doubled(chat: list[str], data: st.DataObject) -> None:
    """Our contract (section 4): a service may send live events before it has finished the replay.

    The live ones come before the last known event with an identity, which is what shows that the replay is
    still running; and they have identities of their own (of two alike, nobody can say which is which).
    """
    cut = data.draw(st.integers(0, len(chat)))
    known, rest = chat[:cut], [f for f in chat[cut:] if identify(decode(f)).own]
    history = History()
    history.begin_replay()
    log = [f for f in known if history.is_new(identify(decode(f)))]
    history.end_replay()
    history.begin_replay()
    anchored = {kind(f) for f in known if identify(decode(f)).own and kind(f) != "chat_metadata"}
    own_places = [i for i, f in enumerate(known) if identify(decode(f)).own and kind(f) in anchored]
    stream, mixed_in = list(known), []
    if own_places:
        first, last = own_places[0], own_places[-1]
        same = [i for i in own_places if kind(known[i]) == kind(known[first])]
        last = same[-1] if same[-1] > first else first
        at = sorted((data.draw(st.integers(first + 1, max(first + 1, last))) for _ in rest), reverse=True)
        for place, live in zip(at, reversed(rest), strict=True):
            if place <= last:
                stream.insert(place, live)
                mixed_in.append(live)
    log += new_in(history, stream)
    history.end_replay()
    assert Counter(log) == Counter([*known, *mixed_in])
    history.begin_replay()
    assert new_in(history, [*known, *reversed(mixed_in)]) == []


@given(chats, st.data())
def test_a_replay_that_starts_late_doubles_nothing(chat: list[str], data: st.DataObject) -> None:
    """Whether EVI bounds its replay is not documented; if it does, what is cut off must not look like news."""
    history = History()
    history.begin_replay()
    assert [f for f in chat if history.is_new(identify(decode(f)))] == chat
    history.begin_replay()
    start = data.draw(st.integers(0, len(chat)))
    assert not [f for f in chat[start:] if history.is_new(identify(decode(f))) and identify(decode(f)).own]


def test_two_equal_typed_messages_are_two_events_and_stay_two_after_a_replay() -> None:
    """Typed messages have no identity of their own: two people may type "yes" in the same chat."""
    chat = [frames.metadata(), frames.typed("yes"), frames.assistant("ok", "m-1"), frames.typed("yes")]
    assert follow(chat, [Connection(4, 0, True, frozenset()), Connection(0, 0, False, frozenset())]) == chat


def test_a_replay_without_assistant_end_does_not_swallow_the_live_ones() -> None:
    """Contract, section 4, in so many words: counting from the start of each connection is not enough."""
    history = History()
    seen = [frames.assistant("a", "m-1"), frames.end(), frames.assistant("b", "m-2"), frames.end()]
    for frame in seen:
        assert history.is_new(identify(decode(frame)))
    history.begin_replay()
    assert not history.is_new(identify(decode(seen[0])))
    assert not history.is_new(identify(decode(seen[2])))
    assert history.is_new(identify(decode(frames.end())))


def test_chat_metadata_is_one_event_although_each_connection_has_its_own_request_id() -> None:
    """EVI's `request_id` names the connection; the chat still began once. A history may begin with it once more."""
    history = History()
    history.begin_replay()
    assert new_in(history, [frames.metadata(request_id="r-1")]) == [frames.metadata(request_id="r-1")]
    history.begin_replay()
    assert new_in(history, [frames.metadata(request_id="r-2"), frames.metadata(request_id="r-1")]) == []


def test_scores_are_no_part_of_an_identity() -> None:
    """Whether a replay repeats floats exactly is not documented, so they must not make a new event."""
    first, again = (identify(decode(frames.user("hi", 10, scores={"Joy": joy}))) for joy in (0.5, 0.49))
    assert first == again


def test_an_event_stays_known_at_a_small_price() -> None:
    """Identities outlive the log's events, for the life of a chat (30 minutes at most): each may cost only a little."""
    made = [identify(decode(frames.assistant("x" * 500, f"m-{n}"))) for n in range(5000)]
    tracemalloc.start()
    history = History()
    for identity in made:
        history.is_new(identity)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(history) == 5000
    assert held < 200 * 5000


def test_knowing_an_event_again_costs_no_memory() -> None:
    """A chat on a bad line is replayed hundreds of times."""
    made = [identify(decode(frames.assistant("x", f"m-{n}"))) for n in range(2000)]
    history = History()
    for identity in made:
        history.is_new(identity)
    tracemalloc.start()
    for _ in range(5):
        history.begin_replay()
        assert not any(map(history.is_new, made))
        history.end_replay()
    history.begin_replay()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 10_000


@given(chats, connections(left_out, st.just(True)))
def test_what_a_complete_replay_has_shown_no_later_one_shows_again(chat: list[str], plan: list[Connection]) -> None:
    """Whatever was left out before and learnt late, out of its order: once it is known, it stays known."""
    history, now = History(), 0
    for step in plan:
        now = min(len(chat), now + step.missed)
        history.begin_replay()
        new_in(history, [f for f in chat[:now] if kind(f) not in step.left_out])
        history.end_replay()
        new_in(history, chat[now : now + step.live])
        now = min(len(chat), now + step.live)
    history.begin_replay()
    new_in(history, chat)
    history.end_replay()
    for quiet in (False, True):
        history.begin_replay()
        assert new_in(history, chat) == []
        if quiet:
            history.end_replay()


def test_two_equal_events_that_are_learnt_late_are_two() -> None:
    """A replay may show what earlier ones left out: each of it is one event, however alike they are."""
    history = History()
    history.begin_replay()
    new_in(history, [frames.metadata(), frames.assistant("a", "m-1"), frames.assistant("b", "m-2")])
    history.begin_replay()
    whole = [frames.metadata(), frames.assistant("a", "m-1"), frames.end(), frames.end(), frames.assistant("b", "m-2")]
    assert new_in(history, whole) == [frames.end(), frames.end()]
    history.begin_replay()
    assert new_in(history, whole) == []


def test_a_cut_replay_doubles_nothing_and_swallows_nothing() -> None:
    """Whether EVI bounds its replay is not documented. `chat_metadata` opens every connection, cut or not."""
    history = History()
    history.begin_replay()
    spoken = [item for n in range(4) for item in (frames.assistant(f"line {n}", f"m-{n}"), frames.end())]
    assert new_in(history, [frames.metadata(), *spoken]) == [frames.metadata(), *spoken]
    history.begin_replay()
    assert new_in(history, [frames.metadata(), *spoken[4:]]) == []
    assert new_in(history, [frames.end()]) == [frames.end()]


def test_equal_events_that_were_missed_all_come_in() -> None:
    """What happened while the connection was down is in the replay after all that was known."""
    history = History()
    history.begin_replay()
    known = [frames.metadata(), frames.assistant("a", "m-1"), frames.end()]
    assert new_in(history, known) == known
    missed = [frames.assistant("b", "m-2"), frames.end(), frames.end(), frames.typed("x"), frames.typed("x")]
    history.begin_replay()
    assert new_in(history, known + missed) == missed


def test_a_new_event_after_all_that_is_known_shows_that_a_missing_type_is_left_out() -> None:
    """Nothing else tells it here: the one `assistant_end` that is known would have come last."""
    history = History()
    history.begin_replay()
    new_in(history, [frames.metadata(), frames.assistant("a", "m-1"), frames.end()])
    history.begin_replay()
    missed = [frames.assistant("b", "m-2"), frames.end()]
    assert new_in(history, [frames.metadata(), frames.assistant("a", "m-1"), *missed]) == missed


def test_what_was_missed_once_is_known_by_its_place_like_the_rest() -> None:
    """The place of an event that came late, at the end of a replay, is as certain as that of a live one."""
    history = History()
    said = [frames.assistant("a", "m-1"), frames.assistant("b", "m-2"), frames.assistant("c", "m-3")]
    known = [frames.metadata(), said[0], frames.settings(), said[1], frames.settings()]
    missed = [said[2], frames.error(), frames.user("d", 4)]
    history.begin_replay()
    new_in(history, known)
    history.begin_replay()
    assert new_in(history, known + missed) == missed
    history.begin_replay()
    assert new_in(history, [known[0], *said, missed[2]]) == []
    assert new_in(history, [frames.error()]) == [frames.error()]


def test_what_an_earlier_replay_left_out_does_not_make_what_follows_it_new() -> None:
    """A new tool call shows nothing of where the replay is, if tool calls were left out before."""
    history = History()
    said, calls = frames.assistant("a", "m-1"), [frames.tool_call("c-1"), frames.tool_call("c-2")]
    history.begin_replay()
    new_in(history, [frames.metadata(), said, frames.settings()])
    history.end_replay()
    assert new_in(history, calls[1:]) == calls[1:]
    history.begin_replay()
    assert new_in(history, [frames.metadata(), said, calls[0], frames.settings(), calls[1]]) == calls[:1]


def test_an_event_that_a_service_has_sent_and_not_kept_makes_one_other_new_and_not_its_whole_type() -> None:
    """It looks as if the type were left out, until a known event shows that the replay goes on."""
    history = History()
    turns = [item for n in range(20) for item in (frames.assistant(f"line {n}", f"m-{n}"), frames.end())]
    history.begin_replay()
    new_in(history, [frames.metadata(), *turns])
    history.begin_replay()
    assert new_in(history, [frames.metadata(), turns[0], *turns[2:]]) == [frames.end()]


def test_a_live_event_amid_a_replay_does_not_end_it() -> None:
    """Known events that follow it show that the replay goes on."""
    history = History()
    said = [frames.assistant("a", "m-1"), frames.assistant("b", "m-2")]
    known = [frames.metadata(), said[0], frames.end(), said[1], frames.settings()]
    history.begin_replay()
    new_in(history, known)
    history.begin_replay()
    live = frames.user("live", 1)
    assert new_in(history, [*known[:2], live, *known[2:]]) == [live]


def followed_until(chat: list[str], cut: int) -> History:
    """A history that has seen the chat live, up to there."""
    history = History()
    history.begin_replay()
    history.end_replay()
    assert new_in(history, chat[:cut]) == chat[:cut]
    history.begin_replay()
    return history


@given(chats, left_out, st.data())
def test_one_replay_of_a_chat_that_was_followed_doubles_nothing_whatever_types_it_leaves_out(
    chat: list[str], left_out: frozenset[str], data: st.DataObject
) -> None:
    """It brings what was missed, of the types that it holds, and nothing else is logged."""
    cut = data.draw(st.integers(1, len(chat)))
    held = [frame for frame in chat if kind(frame) not in left_out]
    history = followed_until(chat, cut)
    assert new_in(history, held) == [frame for frame in chat[cut:] if kind(frame) not in left_out]


ANCHORS = ("user_message", "assistant_message", "tool_call", "tool_response", "user_interruption")


@given(chats_of(*MAKERS.keys() - {"garbage"}), st.data())
def test_a_replay_that_keeps_only_the_newest_part_of_a_followed_chat_doubles_nothing(
    chat: list[str], data: st.DataObject
) -> None:
    """Whether EVI bounds its replay is not documented. One event with an identity shows where the rest belongs."""
    spoken = [n for n, frame in enumerate(chat) if identify(decode(frame)).own and kind(frame) in ANCHORS]
    if not spoken:
        return
    anchor = data.draw(st.sampled_from(spoken))
    start, cut = data.draw(st.integers(1, anchor)), data.draw(st.integers(anchor + 1, len(chat)))
    history = followed_until(chat, cut)
    assert new_in(history, [chat[0], *chat[start:]]) == chat[cut:]


@pytest.mark.parametrize("second", LEFT_OUT)
@pytest.mark.parametrize("first", LEFT_OUT)
def test_no_replay_doubles_a_whole_type_though_each_leaves_out_another_one(first: str, second: str) -> None:
    """What one replay left out, the next may show: then the order of what is known has holes, and still holds."""
    talk = Talk("chat", "left out")
    while len(talk.history) < 400:
        talk.go_on()
    history, log, now = History(), [], 0
    for left_out, live in ((first, 100), (second, 100), ("", 0), (second, 50), (first, 50), ("", 0)):
        history.begin_replay()
        log += new_in(history, [frame for frame in talk.history[:now] if kind(frame) != left_out])
        history.end_replay()
        log += new_in(history, talk.history[now : now + live])
        now += live
    assert not Counter(talk.history[:now]) - Counter(log), "lost"
    assert sum((Counter(log) - Counter(talk.history[:now])).values()) <= 2, "doubled"


@given(reusing_chats)
def test_outside_a_replay_everything_is_new(chat: list[str]) -> None:
    """Our contract (section 4): identities are there for replays, and a service may use an id again."""
    history = History()
    for _ in range(3):
        assert new_in(history, chat) == chat
    history.begin_replay()
    assert new_in(history, chat * 3) == []


@given(reusing_chats, connections(left_out, st.booleans()), st.data())
def test_a_history_that_was_restored_knows_what_the_one_that_was_stored_knew(
    chat: list[str], plan: list[Connection], data: st.DataObject
) -> None:
    """Another process that takes a chat over, or this one after a restart, logs what one process would have logged."""
    lived, entries, now = History(), list[Entry](), 0
    dies_at = data.draw(st.integers(0, len(plan)))
    restored: History | None = None

    def take_in(frames_: Iterable[str]) -> None:
        for frame in frames_:
            identity = identify(decode(frame))
            is_new = lived.is_new(identity)
            if is_new:
                entries.append(lived.newest)
            if restored is not None:
                assert restored.is_new(identity) == is_new
                assert not is_new or restored.newest == lived.newest

    for number, step in enumerate([*plan, Connection(0, 0, True, frozenset())]):
        now = min(len(chat), now + step.missed)
        if number == dies_at:
            lived.lose_connection()
            restored = History.restore(unpack(b"".join(entry.pack() for entry in entries)))
            assert len(restored) == len(lived)
        for history in (lived, restored):
            if history is not None:
                history.begin_replay()
        take_in(frame for frame in chat[:now] if kind(frame) not in step.left_out)
        if step.quiet:
            for history in (lived, restored):
                if history is not None:
                    history.end_replay()
        take_in(chat[now : now + step.live])
        now = min(len(chat), now + step.live)


def steps(work: Callable[[], object]) -> int:
    """How many lines of Python are run: what a clock would tell, without the clock."""
    count = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("order", ["as it was", "ends first", "ends last", "backwards"])
def test_a_replay_costs_as_much_for_each_event_however_long_it_is_and_in_whatever_order(order: str) -> None:
    """A replay of 60,000 events with the ends of turns first cost 21 s, in which nobody else had a turn."""

    def cost(turns: int) -> int:
        end = identify(decode(frames.end()))
        said = [identify(decode(frames.assistant("x", f"m-{n}"))) for n in range(turns)]
        lived = [event for one in said for event in (one, end)]
        replayed = {
            "as it was": lived,
            "ends first": [end] * turns + said,
            "ends last": said + [end] * turns,
            "backwards": lived[::-1],
        }[order]
        history = History()
        for event in lived:
            history.is_new(event)
        history.begin_replay()
        return steps(lambda: [history.is_new(event) for event in replayed])

    short, long = cost(500), cost(4000)
    assert long < short * 8 * 1.5


def test_a_frame_of_a_replay_that_cannot_be_read_makes_no_known_event_new() -> None:
    """Else the first `assistant_end` that is damaged would double all that follow, though they come in their place."""
    history = History()
    history.begin_replay()
    spoken = [item for n in range(4) for item in (frames.assistant(f"line {n}", f"m-{n}"), frames.end())]
    new_in(history, [frames.metadata(), *spoken])
    history.begin_replay()
    assert new_in(history, [frames.metadata(), spoken[0], '{"type', *spoken[2:]]) == ['{"type']


@pytest.mark.parametrize("damaged", [0, 1])
def test_an_event_that_could_not_be_read_at_first_makes_no_known_event_new_when_it_comes(damaged: int) -> None:
    """It is new, and yet an old one: what follows it in the replay is the replay still."""
    history = History()
    said = [frames.metadata(), frames.assistant("a", "m-1"), frames.settings(voice_id="v"), frames.user("b", 9)]
    history.begin_replay()
    new_in(history, [*said[:damaged], '{"type', *said[damaged + 1 :]])
    history.begin_replay()
    assert new_in(history, said) == [said[damaged]]
    history.begin_replay()
    assert new_in(history, said) == []


def test_a_frame_that_could_not_be_read_keeps_no_later_event_from_its_place() -> None:
    """It never comes back, so whoever waits for that would take all that follows for learnt out of order."""
    history = History()
    spoken = [frames.user("hello", 1), frames.user("hello?", 2)]
    said = [
        frames.metadata(),
        frames.assistant("a", "m-1"),
        frames.settings(voice_id="v"),
        frames.assistant("b", "m-2"),
    ]
    history.begin_replay()
    new_in(history, [said[0], '{"type'])
    history.begin_replay()
    assert new_in(history, said) == said[1:]
    history.begin_replay()
    assert new_in(history, [*said[:2], *spoken, *said[2:]]) == spoken


@given(chats, connections(st.just(frozenset()), st.just(True)), st.randoms(use_true_random=False))
def test_whatever_frames_cannot_be_read_all_is_there_once_after_a_whole_replay(
    chat: list[str], plan: list[Connection], random: Random
) -> None:
    """Our contract (section 4): a damaged frame is no event; the event that it was comes with a later replay."""
    history, log, now = History(), [], 0
    chat = [frame for frame in chat if kind(frame) != "protocol_fault"]
    for number, step in enumerate(plan):
        now = min(len(chat), now + step.missed)
        upto = min(len(chat), now + step.live)
        sent = [f'{{"damaged": {number}.{n}' if random.random() < 0.1 else f for n, f in enumerate(chat[:upto])]
        history.begin_replay()
        log += new_in(history, sent[:now])
        history.end_replay()
        log += new_in(history, sent[now:])
        now = upto
    history.begin_replay()
    log += new_in(history, chat)
    assert Counter(frame for frame in log if kind(frame) != "protocol_fault") == Counter(chat)
