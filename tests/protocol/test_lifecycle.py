"""The states of a chat: every input in every state."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.protocol.lifecycle import OVER, Change, Lifecycle, State

INPUTS: dict[str, Callable[[Lifecycle], Change | None]] = {
    "caught_up": lambda chat: chat.caught_up(),
    "closed 1000": lambda chat: chat.closed(1000, ""),
    "closed 1011": lambda chat: chat.closed(1011, "oops"),
    "broken": lambda chat: chat.closed(None, ""),
    "refused 401": lambda chat: chat.refused(401, "key"),
    "refused 404": lambda chat: chat.refused(404, "unknown"),
    "refused 429": lambda chat: chat.refused(429, "busy"),
    "refused 503": lambda chat: chat.refused(503, "down"),
    "redirected": lambda chat: chat.refused(302, "elsewhere"),
    "unreachable": lambda chat: chat.unreachable("no route"),
    "E0714": lambda chat: chat.heard_error("E0714", None),
    "timeout by slug": lambda chat: chat.heard_error("X", "max_duration_timeout"),
    "E0100": lambda chat: chat.heard_error("E0100", "bad"),
    "gave_up": lambda chat: chat.gave_up(300),
    "broke": lambda chat: chat.broke("bug"),
    "detached": lambda chat: chat.detached(),
}
SAME = ""
TABLE = {
    # input: from connecting, from live, from reconnecting
    "caught_up": ("live", SAME, "live"),
    "closed 1000": ("ended", "ended", "ended"),
    "closed 1011": (SAME, "reconnecting", SAME),
    "broken": (SAME, "reconnecting", SAME),
    "refused 401": ("failed", "failed", "failed"),
    "refused 404": ("failed", "ended", "ended"),
    "refused 429": (SAME, "reconnecting", SAME),
    "refused 503": (SAME, "reconnecting", SAME),
    "redirected": ("failed", "failed", "failed"),
    "unreachable": (SAME, "reconnecting", SAME),
    "E0714": ("ended", "ended", "ended"),
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
    assert chat.caught_up() == Change(State.LIVE, None)
    assert chat.caught_up() is None
