"""Triggers without I/O: what a sleeper is woken for is what one who comes later finds."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evi_mcp.chat.trigger_forms import read_triggers
from evi_mcp.chat.triggers import MAX_REMINDERS, Reminders, Timer, Trigger, first_met
from tests import frames
from tests.folding import FoldedChat


def a_trigger(given: Any) -> Trigger:
    [trigger] = read_triggers(given)
    return trigger


TRIGGERS: list[dict[str, Any]] = [
    {"kind": "event", "types": ["tool_call", "user_message"]},
    {"kind": "text", "contains": "no"},
    {"kind": "text", "contains": "NO", "speaker": "assistant"},
    {"kind": "turn_end"},
    {"kind": "expression", "score": "Anger", "at_least": 0.5},
    {"kind": "expression", "score": "Anger", "at_least": 0.5, "turns": 2},
    {"kind": "expression", "score": "Anger", "at_least": 0.3, "speaker": "assistant"},
    {"kind": "event", "types": ["user_message", "assistant_message"], "speaker": "assistant"},
]

anger = st.sampled_from([0.1, 0.4, 0.5, 0.9])
# The mean of a turn that goes on may rise and fall again: no trigger here is met by a mean that does.
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("user"), st.sampled_from(["No!", "yes", "nothing"]), anger),
        st.tuples(st.just("evi"), st.sampled_from(["Oh no.", "Yes."]), anger),
        st.tuples(st.just("tool"), st.just(""), anger),
    ),
    max_size=15,
)


def frames_of(happened: list[tuple[str, str, float]]) -> list[str]:
    made = []
    for number, (who, words, strength) in enumerate(happened):
        scores = {"Anger": strength}
        if who == "user":
            made += [frames.user(words, number * 1000, scores=scores), frames.assistant("mm", f"x-{number}")]
        elif who == "evi":
            made += [frames.assistant(words, f"m-{number}"), frames.prosody(f"m-{number}", **scores), frames.end()]
            made += [frames.user("hm", number * 1000 + 500, scores={"Anger": 0.0})]
        else:
            made.append(frames.tool_call(f"call_{number}"))
    return made


@pytest.mark.parametrize("given_trigger", TRIGGERS, ids=str)
@given(happened=happenings, start=st.integers(0, 40))
def test_who_looks_back_finds_what_would_have_woken_a_sleeper(
    given_trigger: dict[str, object], happened: list[tuple[str, str, float]], start: int
) -> None:
    """An agent that was busy while it happened is woken as soon as it waits, and by the same event."""
    trigger = a_trigger(given_trigger)
    record = FoldedChat()
    record.caught_up()
    would_wake = []
    for frame in frames_of(happened):
        for event in record.receive(frame, 1.0):
            would_wake += [event.seq] if trigger.met_by(event, record.record) else []
    after = [seq for seq in would_wake if seq > start]
    assert trigger.met_after(record.record, start) == (after[0] if after else None)


@pytest.mark.parametrize(
    "given_trigger",
    [
        {"kind": "expression", "score": "Anger", "at_most": 0.4},
        {"kind": "expression", "score": "Anger", "at_least": 0.4, "at_most": 0.5, "turns": 2},
        {"kind": "expression", "score": "Anger", "rise": 0.3},
        {"kind": "expression", "score": "Anger", "rise": -0.3, "turns": 2},
    ],
    ids=str,
)
@given(strengths=st.lists(anger, max_size=15), start=st.integers(0, 40))
def test_it_is_the_same_for_a_voice_that_calms_down_or_turns(
    given_trigger: dict[str, object], strengths: list[float], start: int
) -> None:
    """Every utterance is a turn of its own here, so that no mean changes."""
    trigger, record = a_trigger(given_trigger), FoldedChat()
    record.caught_up()
    would_wake = []
    for frame in frames_of([("user", "words", strength) for strength in strengths]):
        for event in record.receive(frame, 1.0):
            would_wake += [event.seq] if trigger.met_by(event, record.record) else []
    after = [seq for seq in would_wake if seq > start]
    assert trigger.met_after(record.record, start) == (after[0] if after else None)


def met(trigger: dict[str, object], *strengths: float) -> list[int]:
    """Which of the user's turns, each with so much anger, meet it."""
    made, record, found = a_trigger({"kind": "expression", "score": "Anger", **trigger}), FoldedChat(), list[int]()
    record.caught_up()
    for number, strength in enumerate(strengths):
        for frame in frames_of([("user", f"words {number}", strength)]):
            found += [number for event in record.receive(frame, 1.0) if made.met_by(event, record.record)]
    return found


@pytest.mark.parametrize(
    ("trigger", "strengths", "turns"),
    [
        ({"rise": 0.2}, [0.9], []),
        ({"rise": 0.2}, [0.5, 0.7, 0.7, 0.9], [1, 3]),
        ({"rise": 0.5}, [1.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.6], [6]),
        ({"rise": -0.2}, [0.9, 0.8, 0.5, 0.5], [2, 3]),
        ({"rise": 0.3, "turns": 2}, [0.1, 0.9, 0.9, 0.2], [2]),
        ({"rise": 0.3, "at_least": 0.5}, [0.0, 0.4, 0.6], [2]),
        ({"at_most": 0.2}, [0.5, 0.2, 0.1, 0.3], [1, 2]),
        ({"at_most": 0.2, "turns": 2}, [0.1, 0.3, 0.2, 0.1], [3]),
        ({"at_most": 0}, [0.1, 0.0], [1]),
    ],
)
def test_a_score_that_rises_or_falls_does_so_against_the_mean_of_the_five_turns_before(
    trigger: dict[str, object], strengths: list[float], turns: list[int]
) -> None:
    """docs/tools.md: whether a whisper has helped shows in a voice that calms down."""
    assert met(trigger, *strengths) == turns


def test_a_trigger_about_one_chat_is_met_in_no_other() -> None:
    """Of any kind: an agent that waits on several chats may wait for something else in each."""
    every: list[dict[str, Any]] = [
        *TRIGGERS,
        {"kind": "silence", "seconds": 1},
        {"kind": "tool_call_waiting", "seconds": 1},
    ]
    for given_trigger in every:
        here, there = (a_trigger({**given_trigger, "chat_id": chat_id}) for chat_id in ("c", "d"))
        record, woken = FoldedChat(), False
        record.caught_up()
        for frame in frames_of([("user", "No!", 0.9), ("user", "No!", 0.9), ("evi", "Oh no.", 0.9), ("tool", "", 0.9)]):
            for event in record.receive(frame, 1.0):
                woken = woken or here.met_by(event, record.record) or bool(list(here.timers(record.record)))
                assert not there.met_by(event, record.record) and not list(there.timers(record.record))
        assert woken, given_trigger
        assert there.met_after(record.record, 0) is None


@example(seconds=1548.1024815864705, waits=[1.1024815864705033, 3095.1024815864703, 0.0])  # rounded down
@given(seconds=st.floats(0.1, 3600), waits=st.lists(st.floats(0, 10_000), max_size=20))
def test_a_timer_wakes_at_most_once_in_its_time(seconds: float, waits: list[float]) -> None:
    """However often somebody asks: the same silence is told once for each of its lengths."""
    reminders, timer = Reminders(), Timer(1000.0, seconds)
    told: list[float] = []
    now = timer.since
    for page, wait in enumerate(waits, 1):
        now += wait
        if reminders.next_at(timer, "a", page - 1) <= now:
            reminders.tell(timer, "a", now, read_to=page - 1, page=page)
            told.append(now)
            assert reminders.next_at(timer, "a", page) > now - 1e-6
    lengths = [int((at - timer.since) / seconds + 1e-9) for at in told]
    assert lengths == sorted(set(lengths))


def test_a_new_silence_is_told_anew_and_old_ones_are_forgotten() -> None:
    """What was told is of one silence; and memory is bounded."""
    reminders = Reminders()
    reminders.tell(Timer(0.0, 10.0), "a", 10.0, read_to=0, page=1)
    assert reminders.next_at(Timer(0.0, 10.0), "a", 1) == 20.0
    assert reminders.next_at(Timer(50.0, 10.0), "a", 1) == 60.0
    assert reminders.next_at(Timer(0.0, 10.0), "b", 1) == 10.0, "another caller was told nothing"
    for number in range(2 * MAX_REMINDERS):
        reminders.tell(Timer(0.0, 10.0, number), "a", 10.0, read_to=0, page=1)
    assert reminders.next_at(Timer(0.0, 10.0), "a", 1) == 10.0


def test_a_reminder_that_nobody_received_is_not_used_up() -> None:
    """A client that timed out without cancelling, and asks again from where it stood, was woken at 8 s for 4 s."""
    reminders, silence = Reminders(), Timer(0.0, 4.0)
    reminders.tell(silence, "a", 4.0, read_to=17, page=20)
    assert reminders.next_at(silence, "a", 17) == 4.0, "it has not seen the page, so it is told at once"
    assert reminders.next_at(silence, "a", 20) == 8.0, "it has"
    reminders.tell(silence, "a", 5.0, read_to=17, page=21)
    assert reminders.next_at(silence, "a", 20) == 4.0
    assert reminders.next_at(silence, "a", 21) == 8.0


def test_what_was_said_before_the_attach_wakes_nobody_and_what_an_outage_held_does() -> None:
    """Old anger is the past. What came while the connection was away is news, but only once all of it has come."""
    anger = [a_trigger({"kind": "expression", "score": "Anger", "at_least": 0.5})]
    record = FoldedChat(frames.metadata(), frames.user("I am furious.", 1, scores={"Anger": 0.9}), frames.end())
    assert first_met(anger, record.record, 0) is None
    record.caught_up()
    assert first_met(anger, record.record, 0) is None, "it came with the history"
    record.connect_again()
    record.receive(frames.assistant("Sorry.", "m-1"))
    [event] = record.receive(frames.user("Still furious.", 5000, scores={"Anger": 0.9}))
    assert first_met(anger, record.record, 0) is None, "it may be history"
    record.caught_up()
    assert first_met(anger, record.record, 0) == (anger[0], event.seq)


def angry_voice(*scores: float | None) -> list[str]:
    """EVI's turns, each with this much anger in it, or with none yet."""
    made = []
    for number, score in enumerate(scores):
        made.append(frames.assistant("words", f"m-{number}"))
        made += [] if score is None else [frames.prosody(f"m-{number}", Anger=score)]
        made += [frames.end(), frames.user("hm", number * 1000)]
    return made


def test_a_voice_that_comes_late_meets_what_it_completes_and_no_gap_is_skipped() -> None:
    """Prosody joins by id, whenever it comes: turns on end are the turns of the talk, not those that are scored."""
    trigger = a_trigger({"kind": "expression", "score": "Anger", "at_least": 0.5, "turns": 2, "speaker": "assistant"})
    record = FoldedChat()
    record.caught_up()

    def meets(frame: str) -> bool:
        return any(trigger.met_by(event, record.record) for event in record.receive(frame, 1.0))

    assert not any(map(meets, angry_voice(0.9, None, 0.9))), "the turn between may turn out to be calm"
    assert meets(frames.prosody("m-1", Anger=0.8)), "it completes two turns, the later of which is not the newest"
    assert trigger.met_after(record.record, 0) == record.log.last.seq
