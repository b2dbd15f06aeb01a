"""Commands are executed at most once, whatever the line does."""

from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.link.inbox import MAX_REMEMBERED, REPEATED, Inbox, Outcome


@given(st.lists(st.integers(0, 20), max_size=200))
def test_any_repetition_of_ids_executes_each_once(ids: list[int]) -> None:
    """A line spoken twice is heard twice: the hub repeats what it has no outcome of, and may be wrong."""
    inbox, executed = Inbox(), []
    for id_ in map(str, ids):
        if inbox.is_new(id_):
            executed.append(id_)
            inbox.settle(Outcome(id_))
        assert inbox.outcome(id_) == Outcome(id_)
    assert len(executed) == len(set(ids))


def test_a_command_that_is_still_executed_is_not_begun_again() -> None:
    """Its outcome comes when there is one."""
    inbox = Inbox()
    assert inbox.is_new("a") and not inbox.is_new("a")
    assert inbox.outcome("a") is None


def test_what_is_remembered_is_bounded() -> None:
    """A hub that never ends must not fill a bot's memory."""
    inbox = Inbox()
    for number in range(MAX_REMEMBERED + 10):
        inbox.is_new(str(number))
        inbox.settle(Outcome(str(number)))
    assert inbox.outcome("0") is None and inbox.outcome("10") is not None
    assert len(inbox.recent()) == REPEATED
