"""The count itself: a run that finds nothing proves something only if it would have found it."""

import pytest

from tests import frames
from tests.chaos.count import Asked, account, compare

HISTORY = [frames.metadata(), frames.assistant("a", "m-1"), frames.end(), frames.assistant("b", "m-2"), frames.end()]
META: dict[str, object] = {"type": "chat_metadata"}
A: dict[str, object] = {"type": "assistant_message", "message_id": "m-1", "text": "a"}
END: dict[str, object] = {"type": "assistant_end"}
B: dict[str, object] = {"type": "assistant_message", "message_id": "m-2", "text": "b"}
STATE: dict[str, object] = {"type": "chat_state", "state": "live"}


def read(*events: dict[str, object]) -> list[dict[str, object]]:
    return [{"seq": seq, **event} for seq, event in enumerate(events, 1)]


def test_what_was_read_as_it_happened_is_no_problem() -> None:
    """Events of our own and damaged frames come in between; they are no part of the truth."""
    found = compare(HISTORY, read(META, STATE, A, END, {"type": "protocol_fault"}, B, END), [])
    assert (found.truth, found.log, found.faults, found.problems) == (5, 5, 1, [])


@pytest.mark.parametrize(
    ("events", "counts"),
    [
        ((META, A, END, END), (1, 0, 0)),
        ((META, A, END, B), (1, 0, 0)),
        ((META, A, END, B, END, END), (0, 1, 0)),
        ((META, A, A, END, B, END), (0, 1, 0)),
        ((META, A, END, B, END, {"type": "assistant_message", "message_id": "m-3", "text": "c"}), (0, 0, 1)),
        ((META, A, END, {**B, "text": "other words"}, END), (1, 0, 1)),
    ],
)
def test_each_loss_each_double_and_each_invention_is_counted(
    events: tuple[dict[str, object], ...], counts: tuple[int, int, int]
) -> None:
    """Also of events that look alike, and of one whose words have changed on the way."""
    found = compare(HISTORY, read(*events), [])
    assert (found.lost, found.doubled, found.invented) == counts
    assert found.problems


def test_what_comes_out_of_order_is_counted_unless_it_was_kept_back() -> None:
    """A damaged frame is made good by the next replay, so it may be late; nothing else may."""
    events = read(META, B, END, A, END)
    assert compare(HISTORY, events, []).out_of_order
    assert not compare(HISTORY, events, [(1, 5), (2, 5)]).out_of_order
    assert compare(HISTORY, events, [(0, 5)]).out_of_order


def test_numbers_that_do_not_grow_are_a_problem() -> None:
    """A cursor that steps back would show the same events again."""
    assert compare(HISTORY, [*read(META, A, END, B), {"seq": 4, **END}], []).out_of_order


def asked(outcome: str, mark: str = "hello", **more: str) -> Asked:
    return Asked("chat", "send_user_input", mark, outcome, **more)


HELLO = {"type": "user_input", "text": "hello"}


@pytest.mark.parametrize(
    ("outcome", "received", "twice", "wrong", "lost"),
    [
        ("confirmed", 1, 0, 0, 0),
        ("sent", 1, 0, 0, 0),
        ("sent", 0, 0, 0, 1),
        ("maybe", 0, 0, 0, 0),
        ("maybe", 1, 0, 0, 0),
        ("refused", 0, 0, 0, 0),
        ("confirmed", 0, 0, 1, 1),
        ("refused", 1, 0, 1, 0),
        ("confirmed", 2, 1, 0, 0),
        ("maybe", 2, 1, 0, 0),
    ],
)
def test_what_an_agent_is_told_of_a_command_is_held_against_what_arrived(
    outcome: str, received: int, twice: int, wrong: int, lost: int
) -> None:
    """`confirmed` and refusals are promises; `sent` says that it was written, `maybe` that nobody knows."""
    found = account([asked(outcome)], [HELLO] * received)
    assert (found.twice, found.wrong, found.on_the_way) == (twice, wrong, lost)
    assert bool(found.problems) == bool(twice or wrong)


def test_a_command_that_nobody_asked_for_is_a_problem() -> None:
    """A server must not speak for itself."""
    assert account([], [HELLO]).wrong == 1


def test_a_tool_call_that_is_answered_twice_is_counted_unless_the_first_answer_may_have_been_lost() -> None:
    """After an error that says so, an agent may answer again, knowingly."""
    answers = [{"type": "tool_response", "tool_call_id": "c", "content": text} for text in ("one", "two")]
    first, second = asked("sent", "one", tool_call_id="c"), asked("sent", "two", tool_call_id="c")
    assert account([first, second], answers).answered_twice == 1
    first.outcome = "maybe"
    assert account([first, second], answers).answered_twice == 0
