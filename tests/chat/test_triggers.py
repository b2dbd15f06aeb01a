"""Triggers without I/O: what a sleeper is woken for is what one who comes later finds."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from evi_mcp.chat.record import ChatRecord
from evi_mcp.chat.triggers import MAX_REMINDERS, AnyTrigger, Clock, Reminders, Trigger
from evi_mcp.ledger.log import Cursors
from tests import frames

a_trigger: TypeAdapter[Trigger] = TypeAdapter(AnyTrigger)

TRIGGERS = [
    {"kind": "event", "types": ["tool_call", "user_message"]},
    {"kind": "text", "contains": "no"},
    {"kind": "text", "contains": "NO", "speaker": "assistant"},
    {"kind": "turn_end"},
    {"kind": "expression", "score": "Anger", "at_least": 0.5},
    {"kind": "expression", "score": "Anger", "at_least": 0.5, "turns": 2},
    {"kind": "expression", "score": "Anger", "at_least": 0.3, "speaker": "assistant"},
]

anger = st.sampled_from([0.1, 0.4, 0.5, 0.9])
# Every user's utterance is a turn of its own here: the mean of a turn that goes on may rise and fall again.
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
    trigger = a_trigger.validate_python(given_trigger)
    record = ChatRecord("c", Cursors("e"), max_events=1000, now=0.0)
    record.connection_opened()
    record.history.end_replay()
    would_wake = []
    for frame in frames_of(happened):
        for event in record.receive(frame, 1.0):
            would_wake += [event.seq] if trigger.met_by(event, record) else []
    after = [seq for seq in would_wake if seq > start]
    assert trigger.met_after(record, start) == (after[0] if after else None)


@example(seconds=1548.1024815864705, waits=[1.1024815864705033, 3095.1024815864703, 0.0])  # rounded down
@given(seconds=st.floats(0.1, 3600), waits=st.lists(st.floats(0, 10_000), max_size=20))
def test_a_clock_wakes_at_most_once_in_its_time(seconds: float, waits: list[float]) -> None:
    """However often somebody asks: the same silence is told once for each of its lengths."""
    reminders, clock = Reminders(), Clock(1000.0, seconds)
    told: list[float] = []
    now = clock.since
    for wait in waits:
        now += wait
        if reminders.next_at(clock, "a") <= now:
            reminders.tell(clock, "a", now)
            told.append(now)
            assert reminders.next_at(clock, "a") > now - 1e-6
    lengths = [int((at - clock.since) / seconds + 1e-9) for at in told]
    assert lengths == sorted(set(lengths))


def test_a_new_silence_is_told_anew_and_old_ones_are_forgotten() -> None:
    """What was told is of one silence; and memory is bounded."""
    reminders = Reminders()
    reminders.tell(Clock(0.0, 10.0), "a", 10.0)
    assert reminders.next_at(Clock(0.0, 10.0), "a") == 20.0
    assert reminders.next_at(Clock(50.0, 10.0), "a") == 60.0
    assert reminders.next_at(Clock(0.0, 10.0), "b") == 10.0, "another agent was told nothing"
    for number in range(2 * MAX_REMINDERS):
        reminders.tell(Clock(0.0, 10.0, f"call_{number}"), "a", 10.0)
    assert reminders.next_at(Clock(0.0, 10.0), "a") == 10.0


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
    trigger = a_trigger.validate_python(
        {"kind": "expression", "score": "Anger", "at_least": 0.5, "turns": 2, "speaker": "assistant"}
    )
    record = ChatRecord("c", Cursors("e"), max_events=1000, now=0.0)
    record.connection_opened()
    record.history.end_replay()

    def met(frame: str) -> bool:
        return any(trigger.met_by(event, record) for event in record.receive(frame, 1.0))

    assert not any(map(met, angry_voice(0.9, None, 0.9))), "the turn between may turn out to be calm"
    assert met(frames.prosody("m-1", Anger=0.8)), "it completes two turns, the later of which is not the newest"
    assert record.log.last is not None and trigger.met_after(record, 0) == record.log.last.seq
