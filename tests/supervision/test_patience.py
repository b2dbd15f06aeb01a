"""What is known of how long a client waits, from what it does; nothing here waits."""

from collections.abc import Hashable

import pytest

from evi_mcp.supervision.patience import LESSON_S, MAX_CALLERS, Call, Patience

NOBODY = float("inf")


class Client:
    """A client that calls, as `Patience` sees it."""

    def __init__(self, patience: Patience, name: str = "agent-1") -> None:
        self.patience, self.name = patience, name
        self.dismissed: list[str] = []
        self.taken_back: list[str] = []

    def asks(self, question: Hashable, at: float, request: str = "1") -> Call:
        call = Call(question, request, at, lambda: self.dismissed.append(request))
        call.take_back = lambda: self.taken_back.append(request)
        self.patience.begin(self.name, call)
        return call

    def patient_for(self, now: float) -> float:
        return self.patience.of(self.name, now)


@pytest.fixture
def client() -> Client:
    return Client(Patience())


@pytest.mark.parametrize(
    ("waited", "learned"), [(3.0, NOBODY), (6.5, 5.0), (13.0, 10.0), (31.0, 30.0), (59.0, 30.0), (61.0, 60.0)]
)
def test_who_asks_again_while_the_same_call_waits_has_given_it_up(
    client: Client, waited: float, learned: float
) -> None:
    """Most clients say nothing when their time is up, and the model takes a while until it asks again: so it is one of
    the usual times. The call that nobody waits for is ended."""
    client.asks("after 1", at=0.0, request="first")
    client.asks("after 1", at=waited, request="second")
    assert client.patient_for(waited) == learned
    assert client.dismissed == ([] if learned == NOBODY else ["first"])


def test_where_others_may_ask_the_same_nothing_follows_from_it(client: Client) -> None:
    """Over HTTP without a session two agents with one token wait for the same, each with a client of its own."""
    client.asks(None, at=0.0)
    client.asks(None, at=20.0)
    assert client.patient_for(20.0) == NOBODY and client.dismissed == []


def test_who_asks_something_else_meanwhile_has_not(client: Client) -> None:
    """An agent may wait in two ways at once."""
    client.asks("after 1", at=0.0)
    client.asks("after 1 until", at=20.0)
    assert client.patient_for(20.0) == NOBODY and client.dismissed == []


@pytest.mark.parametrize(("moved", "learned"), [(True, 5.0), (False, NOBODY)])
def test_who_asks_again_from_where_it_stood_has_not_read_the_answer(
    client: Client, moved: bool, learned: float
) -> None:
    """But where the answer had the same cursor, one who has read it asks the same."""
    call = client.asks("after 1", at=0.0)
    call.ended, call.moved = 7.0, moved
    client.asks("after 1", at=40.0)
    assert client.patient_for(40.0) == learned


def test_an_answer_that_came_soon_was_not_too_late(client: Client) -> None:
    """An agent that does not pass its cursor on is no reason to answer it earlier."""
    call = client.asks("after 1", at=0.0)
    call.ended, call.moved = 1.0, True
    client.asks("after 1", at=40.0)
    assert client.patient_for(40.0) == NOBODY


@pytest.mark.parametrize(
    ("after", "timed_out", "learned"), [(1.0, True, 1.0), (1.0, False, NOBODY), (5.0, False, 5.0), (20.0, True, 20.0)]
)
def test_who_cancels_because_its_time_was_up_says_how_long_it_was(
    client: Client, after: float, timed_out: bool, learned: float
) -> None:
    """Without that reason a person may have cancelled, unless it had lasted as long as the shortest usual time."""
    client.asks("after 1", at=100.0, request="7")
    client.patience.cancelled(client.name, "7", 100.0 + after, timed_out=timed_out)
    assert client.patient_for(100.0 + after) == learned
    assert client.taken_back == ["7"], "whatever the reason: it has not read the answer"


def test_a_request_that_is_closed_counts_when_it_has_lasted(client: Client) -> None:
    """Over HTTP nothing more is said."""
    client.patience.abandoned(client.name, client.asks("after 1", at=0.0), 2.0)
    assert client.patient_for(2.0) == NOBODY
    client.patience.abandoned(client.name, client.asks("after 2", at=10.0), 20.0)
    assert client.patient_for(20.0) == 10.0


def test_the_shortest_time_counts_for_a_while_and_for_this_caller(client: Client) -> None:
    """A person who has cancelled must not make all waits of a day short, nor those of anybody else."""
    other = Client(client.patience, "agent-2")
    for after in (8.0, 6.0, 9.0):
        client.asks("after 1", at=0.0, request="7")
        client.patience.cancelled(client.name, "7", after, timed_out=True)
    assert client.patient_for(9.0) == 6.0 and other.patient_for(9.0) == NOBODY
    assert client.patient_for(9.0 + LESSON_S) == NOBODY


def test_what_is_cancelled_and_was_never_asked_changes_nothing(client: Client) -> None:
    client.patience.cancelled(client.name, "7", 50.0, timed_out=True)
    client.asks("after 1", at=0.0, request="1")
    client.patience.cancelled(client.name, "7", 50.0, timed_out=True)
    assert client.patient_for(50.0) == NOBODY


def test_no_more_is_known_than_of_so_many_callers() -> None:
    """Over HTTP they come and go. Who was heard of longest ago is forgotten first."""
    patience = Patience()
    for number in range(MAX_CALLERS + 1):
        one = Client(patience, f"agent-{number}")
        one.asks("after 1", at=0.0, request="7")
        patience.cancelled(one.name, "7", 5.0, timed_out=True)
    assert patience.of("agent-0", 5.0) == NOBODY and patience.of("agent-1", 5.0) == 5.0
