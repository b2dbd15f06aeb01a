"""The scores, from records: what a supervisor did well and badly."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.record import Action, Asked, Outcome, Record
from evals.report import table
from evals.scoring import score


def record(
    *actions: tuple[Any, ...], waits: tuple[float | None, ...] = (), angers: tuple[float, ...] = (0.1,)
) -> Record:
    made = Record("billing", ended="call ended", angers=list(angers))
    made.asked = [Asked(f"call_{number}", "look", wait) for number, wait in enumerate(waits)]
    for tool, arguments, *outcome in actions:
        result: Outcome = outcome[0] if outcome else "done"
        made.actions.append(Action(0.0, tool, {"chat_id": "a", **arguments}, result))
    return made


def test_a_call_in_which_all_went_well_has_all_points() -> None:
    made = record(("answer_tool_call", {"tool_call_id": "call_0"}), ("barge_in", {"text": "Hello"}), waits=(2.0,))
    assert score(made).points == 100


@pytest.mark.parametrize(
    ("waits", "in_time", "late", "points"),
    [((3, 9.9), 2, 0, 100), ((3, 11), 1, 1, 90), ((3, None), 1, 0, 80), ((None, None), 0, 0, 60), ((), 0, 0, 100)],
)
def test_tool_calls_count_if_they_are_answered_in_time_and_half_if_late(
    waits: tuple[float | None, ...], in_time: int, late: int, points: int
) -> None:
    result = score(record(waits=waits))
    assert (result.in_time, result.late, result.points) == (in_time, late, points)


@pytest.mark.parametrize(("anger", "points"), [(0.05, 100), (0.5, 80), (0.9, 60)])
def test_the_last_anger_of_the_caller_counts_and_not_the_highest(anger: float, points: int) -> None:
    assert score(record(angers=(0.9, anger))).points == points
    assert score(record(angers=())).points == 60, "a caller who was never heard is not content"


@pytest.mark.parametrize(
    ("actions", "wrong", "doubled"),
    [
        ([("nonsense", {}, "unknown_tool"), ("pause", {}, "malformed"), ("get_chat", {}, "refused")], 3, 0),
        ([("answer_tool_call", {"tool_call_id": "c"})] * 2, 0, 1),
        ([("answer_tool_call", {"tool_call_id": "c"}), ("answer_tool_call", {"tool_call_id": "c"}, "refused")], 0, 1),
        ([("answer_tool_call", {"tool_call_id": "c"}), ("answer_tool_call", {"tool_call_id": "d"})], 0, 0),
        ([("answer_tool_call", {"tool_call_id": "c"}, "refused"), ("answer_tool_call", {"tool_call_id": "c"})], 1, 0),
        ([("send_user_input", {"text": "Go on"}), ("send_user_input", {"text": "go  on"})], 0, 1),
        ([("whisper", {"text": "Refund"}), ("whisper", {"text": "refund"})], 0, 1),
        ([("update_session_settings", {"context": "a"}), ("update_session_settings", {"context": "b"})], 0, 0),
        ([("pause", {}), ("pause", {}), ("resume", {})], 0, 1),
        ([("pause", {}), ("resume", {}), ("pause", {}), ("resume", {})], 0, 0),
        ([("barge_in", {"text": "Hello"}), ("barge_in", {"text": "Hello"})], 0, 1),
        ([("barge_in", {"text": "Hello"}), ("pause", {}), ("resume", {})], 0, 0),
        ([("send_user_input", {"text": "a", "unless_user_spoke_after": "x-1"}, "refused")], 0, 0),
        ([("wait_for_events", {})] * 5 + [("get_transcript", {})] * 3, 0, 0),
    ],
)
def test_wrong_and_doubled_actions_are_told_apart(actions: list[Any], wrong: int, doubled: int) -> None:
    """Reading twice harms nobody; a guard that held a line back did its work; what was refused was not done before."""
    result = score(record(*actions))
    assert (result.wrong, result.doubled) == (wrong, doubled)
    assert result.points == 100 - 5 * (wrong + doubled)


@pytest.mark.parametrize(
    ("actions", "left"),
    [
        ([("pause", {})], True),
        ([("pause", {}), ("resume", {}, "refused")], True),
        ([("pause", {}), ("resume", {})], False),
        ([("pause", {}), ("barge_in", {"text": "a"})], False),
        ([("barge_in", {"text": "a", "resume_when_spoken": False})], True),
    ],
)
def test_a_call_that_is_left_paused_is_seen(actions: list[Any], left: bool) -> None:
    result = score(record(*actions))
    assert result.left_paused is left
    assert result.points == 100 - 10 * left - 5 * result.wrong


actions = st.builds(
    Action,
    st.just(0.0),
    st.sampled_from(["pause", "resume", "barge_in", "whisper", "answer_tool_call", "send_user_input", "x"]),
    st.dictionaries(st.sampled_from(["text", "tool_call_id", "context"]), st.none() | st.text(max_size=3)),
    st.sampled_from(["done", "refused", "unknown_tool", "malformed"]),
)


@given(
    actions=st.lists(actions, max_size=20),
    waits=st.lists(st.none() | st.floats(0, 100)),
    angers=st.lists(st.floats(0, 1)),
)
def test_points_are_from_0_to_100_whatever_an_agent_does(
    actions: list[Action], waits: list[float | None], angers: list[float]
) -> None:
    made = record(waits=tuple(waits), angers=tuple(angers))
    made.actions = actions
    result = score(made)
    assert 0 <= result.points <= 100
    assert result.wrong + result.doubled <= len(actions)


def test_the_table_says_what_is_not_known() -> None:
    """An endpoint without `usage`, and a caller who was never measured, are no zeros."""
    made = record(angers=())
    lines = table([(made, score(made))]).splitlines()
    assert len({len(line) for line in lines[:3]}) == 1
    assert "unknown" in lines[2] and lines[-1] == "60 points of 100 on average"
