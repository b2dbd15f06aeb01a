"""The states of a chat: every input in every state."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.protocol.lifecycle import CATCHING_UP, OVER, Change, Lifecycle, State

INPUTS: dict[str, Callable[[Lifecycle], Change | None]] = {
    "catching_up": lambda chat: chat.catching_up(),
    "caught_up": lambda chat: chat.caught_up(),
    "closed 1000": lambda chat: chat.closed(1000, ""),
    "closed 1011": lambda chat: chat.closed(1011, "oops"),
    "closed 1008 at once": lambda chat: chat.closed(1008, "no", 2.0),
    "closed 4001 at once": lambda chat: chat.closed(4001, "", 0.0),
    "closed 1008 later": lambda chat: chat.closed(1008, "no", 2.1),
    "closed 1007 at once": lambda chat: chat.closed(1007, "", 0.0),
    "broken": lambda chat: chat.closed(None, ""),
    "refused 401": lambda chat: chat.refused(401, "key"),
    "refused 404": lambda chat: chat.refused(404, "unknown"),
    "refused 429": lambda chat: chat.refused(429, "busy"),
    "refused 503": lambda chat: chat.refused(503, "down"),
    "redirected": lambda chat: chat.refused(302, "elsewhere"),
    "unreachable": lambda chat: chat.unreachable("no route"),
    "E0714": lambda chat: chat.heard_error("E0714", None),
    "E0714 in a replay": lambda chat: chat.heard_error("E0714", None, replayed=True),
    "timeout by slug": lambda chat: chat.heard_error("X", "max_duration_timeout"),
    "E0100": lambda chat: chat.heard_error("E0100", "bad"),
    "gave_up": lambda chat: chat.gave_up(300),
    "broke": lambda chat: chat.broke("bug"),
    "detached": lambda chat: chat.detached(),
}
SAME = ""
TABLE = {
    # input: from connecting, from live, from reconnecting
    "catching_up": ("live", SAME, "live"),
    "caught_up": ("live", SAME, "live"),
    "closed 1000": ("ended", "ended", "ended"),
    "closed 1011": (SAME, "reconnecting", SAME),
    "closed 1008 at once": ("failed", "failed", "failed"),
    "closed 4001 at once": ("failed", "failed", "failed"),
    "closed 1008 later": (SAME, "reconnecting", SAME),
    "closed 1007 at once": (SAME, "reconnecting", SAME),
    "broken": (SAME, "reconnecting", SAME),
    "refused 401": ("failed", "failed", "failed"),
    "refused 404": ("failed", "ended", "ended"),
    "refused 429": (SAME, "reconnecting", SAME),
    "refused 503": (SAME, "reconnecting", SAME),
    "redirected": ("failed", "failed", "failed"),
    "unreachable": (SAME, "reconnecting", SAME),
    "E0714": ("ended", "ended", "ended"),
    "E0714 in a replay": (SAME, SAME, SAME),
    "timeout by slug": ("ended", "ended", "ended"),
    "E0100": (SAME, SAME, SAME),
    "gave_up": ("failed", "failed", "failed"),
    "broke": ("failed", "failed", "failed"),
    "detached": ("ended", "ended", "ended"),
}


def chat_in(state: str) -> Lifecycle:
    chat = Lifecycle()
    if state != "connecting":
        chat.caught_up()
    if state == "reconnecting":
        chat.unreachable("first")
    assert chat.state == state
    return chat


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize(("place", "state"), [(0, "connecting"), (1, "live"), (2, "reconnecting")])
def test_each_input_leads_where_the_contract_says(name: str, place: int, state: str) -> None:
    """Our contract (section 3), as a table that can be read aloud."""
    chat = chat_in(state)
    INPUTS[name](chat)
    assert chat.state == (TABLE[name][place] or state)


@given(st.lists(st.sampled_from(sorted(INPUTS))))
def test_nothing_leaves_ended_or_failed(inputs: list[str]) -> None:
    """A chat that is over stays so; only attaching anew follows it again."""
    chat, over = Lifecycle(), None
    for name in inputs:
        INPUTS[name](chat)
        if over is not None:
            assert chat.state is over
        if chat.state in OVER:
            over = chat.state


def test_a_change_is_reported_once_and_a_new_reason_is_one() -> None:
    """Agents see one event for each change, also while it is only the reason that changes."""
    chat = Lifecycle()
    assert chat.unreachable("no route") == Change(State.CONNECTING, "no route")
    assert chat.unreachable("no route") is None
    assert chat.refused(503, "down") == Change(State.CONNECTING, "down")
    assert chat.catching_up() == Change(State.LIVE, CATCHING_UP)
    assert chat.catching_up() is None
    assert chat.caught_up() == Change(State.LIVE, None)
    assert chat.caught_up() is None


@pytest.mark.parametrize(
    ("then", "state"),
    [
        (lambda chat: chat.caught_up(), "ended"),
        (lambda chat: chat.closed(1000, "bye"), "ended"),
        (lambda chat: chat.closed(1011, ""), "connecting"),
        (lambda chat: chat.closed(None, ""), "connecting"),
    ],
)
@pytest.mark.parametrize("later", [None, "user_message", "assistant_end", "something_new", "chat_metadata", "error"])
def test_an_error_of_a_replay_ends_a_chat_only_if_nothing_comes_after_it(
    then: Callable[[Lifecycle], Change | None], state: str, later: str | None
) -> None:
    """A chat that was resumed has old errors in its history. Another `error`, or `chat_metadata`, proves nothing."""
    chat = Lifecycle()
    chat.heard_error("E0714", "inactivity_timeout", replayed=True)
    if later:
        chat.heard(later)
    goes_on = later in ("user_message", "assistant_end", "something_new")
    assert chat.may_have_ended == (not goes_on)
    then(chat)
    if not goes_on:
        assert chat.state == state
    assert (chat.reason == "inactivity_timeout") == (state == "ended" and not goes_on)


def test_refusing_closes_are_counted_in_a_row_and_forgotten_with_a_connection_that_stood() -> None:
    """A few tries (evi-protocol 5.2): the third close of this kind is an answer, whatever came in between."""
    chat = Lifecycle()
    for code, stood_s in [(1002, 1.0), (1003, 1.0), (1006, 1.0), (1007, 1.0), (4000, 3.0), (1008, 60.0), (1002, 1.0)]:
        chat.closed(code, "", stood_s)
        assert not chat.over
    chat.closed(1007, "again", 5.0)
    said = 'the service closed the connection with 1007; it has refused 3 connections in a row: "again"'
    assert (chat.state, chat.reason) == ("failed", said)
