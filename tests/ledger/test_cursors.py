"""Cursors: what agents pass around, and what else they try. Holds docs/contract.md, section 4a."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.errors import InvalidCursor
from evi_mcp.ledger.cursors import Cursors, Position


def cursors(last: int = 7) -> Cursors:
    made = Cursors("k3f9")
    made.last_seq = last
    return made


def test_cursors_name_their_process() -> None:
    """A cursor from another process is no error, it starts at the oldest."""
    assert cursors().read(cursors().at(5)) == Position(5)
    assert cursors().read("earliest") == Position(0)
    assert cursors().read("latest") == Position(7)
    assert cursors().read("zzzz-5") == Position(0, foreign=True)


def test_a_narrow_cursor_says_in_which_chat_it_is_a_place() -> None:
    """None is ever silently used for more."""
    narrow = cursors().at(5, "5b1c3a0e-6c0e-4f55")
    assert narrow == "k3f9-5@5b1c3a0e"
    place = cursors().read(narrow)
    assert place == Position(5, chat="5b1c3a0e")
    assert (place.in_chat("5b1c3a0e-6c0e-4f55"), place.in_chat("another")) == (5, 0)


@pytest.mark.parametrize(
    ("tried", "says"),
    [
        ("160", "is the number of an event"),
        ("5b1c3a0e-6c0e-4f55-9a0b-0d5c5e0a7711", "is not a cursor"),
        ("k3f9-99", "is not a cursor"),
        ("k3f9-5@", "is not a cursor"),
        ("", "is not a cursor"),
    ],
)
def test_what_agents_try_instead_is_answered_with_the_right_form(tried: str, says: str) -> None:
    """A number out of a page, a chat's id, or a cursor that was never given out."""
    with pytest.raises(InvalidCursor) as refused:
        cursors().read(tried)
    assert says in str(refused.value) and "9f3a01c2-160" in str(refused.value)


@given(st.text())
def test_no_other_text_is_a_cursor(text: str) -> None:
    """A made-up cursor must not silently mean something."""
    try:
        cursors(0).read(text)
    except InvalidCursor as error:
        assert "9f3a01c2-160" in str(error)
    else:
        assert text in ("earliest", "latest") or text.isascii()
