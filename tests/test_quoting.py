"""What callers say is data: inside the quotes nothing acts, and nothing gets out."""

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.quoting import beginning, ending, is_invisible, name, plain, quote, visible
from tests.counting import calls_of

NASTY = st.text(
    st.sampled_from('"\\\n\r\t[]0 1{}u2\u202e\u200b\u2028\u2029\x1b\x00\U000e0041\ufe0f\u00ad\u3164\ud800aé')
)
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | NASTY,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NASTY, inner, max_size=4),
    max_leaves=20,
)


@given(st.text() | NASTY)
def test_a_quote_is_one_printable_line_that_ends_where_it_ends(text: str) -> None:
    """Our contract (section 7): control, bidirectional, zero-width and tag characters are escaped."""
    quoted = quote(text)
    assert quoted[0] == quoted[-1] == '"'
    assert quoted.replace("\\\\", "").replace('\\"', "").count('"') == 2
    assert len(quoted.splitlines()) == 1
    assert all(unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for char in quoted)


@given(NASTY, NASTY)
def test_different_texts_stay_different(one: str, other: str) -> None:
    """Escaping must not make two things that were said look the same."""
    assert (quote(one) == quote(other)) == (one == other)


def test_ordinary_speech_stays_as_it_is() -> None:
    """Accents, other scripts and emoji are speech, not tricks."""
    assert quote("Ça va? 你好 👍 naïve") == '"Ça va? 你好 👍 naïve"'


def test_what_is_left_out_is_counted() -> None:
    """A cut says so."""
    assert quote("abcdef", 4) == '"abcd" (+2 characters)'


@given(st.text() | NASTY)
def test_a_name_is_bare_only_if_it_cannot_be_anything_else(text: str) -> None:
    """Types, tool names and ids come from the wire too."""
    shown = name(text)
    assert shown == quote(text) or (shown == text and shown.isascii() and " " not in shown)


@given(st.text() | NASTY)
def test_plain_text_is_one_printable_line(text: str) -> None:
    """What a person reads on a terminal has no quotes around it, and acts as little."""
    shown = plain(text)
    assert len(shown.splitlines()) <= 1
    assert all(unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for char in shown)


def test_plain_text_has_no_noise() -> None:
    """Quotes and backslashes are harmless there; what is left out is counted as in a quote."""
    assert plain('He said "no"\\o/\r\n\tand left') == 'He said "no"\\o/ and left'
    assert plain("abcdef", 4) == "abcd (+2 characters)"


def texts(value: Any) -> list[str]:
    """Every text in plain data, keys included."""
    if isinstance(value, dict):
        return [text for pair in value.items() for item in pair for text in texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [value] if isinstance(value, str) else []


@given(DATA)
def test_nothing_invisible_is_left_in_data(value: Any) -> None:
    """A model that reads structure sees what a person sees; tabs and line feeds are ordinary in what is written."""
    shown = visible(value)
    assert not [char for text in texts(shown) for char in text if is_invisible(char) and char not in "\n\t"]
    assert visible(shown) == shown, "once is enough"
    json.dumps(shown, ensure_ascii=False).encode()  # it can be sent


@given(st.recursive(st.integers() | st.text(st.sampled_from("aé你👍 \n\t")), st.lists))
def test_data_without_anything_invisible_stays_as_it_is(value: Any) -> None:
    """Accents, other scripts, emoji and ordinary line ends are no tricks."""
    assert visible(value) == value


def test_what_is_invisible_is_shown_by_its_number() -> None:
    """In a text that may be JSON the escape is JSON's, so that a program can still parse it; emoji have such too."""
    assert visible("a\u202eb\U000e0041\r\nc") == "a\\u{202e}b\\u{e0041}\nc"
    given = json.dumps({"note": "love \u2764\ufe0f", "tag": "\U000e0041", "half": "\ud83d"}, ensure_ascii=False)
    shown = visible(given)
    assert "\\ufe0f" in shown and "\\udb40\\udc41" in shown
    assert json.loads(shown) == json.loads(given)


@given(st.dictionaries(NASTY, st.integers(), max_size=30))
def test_no_field_hides_another_that_looks_the_same(fields: dict[str, int]) -> None:
    """Two names that differ only in how something is hidden in them are both shown."""
    assert sorted(visible(fields).values()) == sorted(fields.values())


def test_two_names_that_look_alike_are_numbered() -> None:
    """As above: which is which does not matter, that there are two does."""
    assert visible({"a\u200b": 1, "a\\u{200b}": 2}) == {"a\\u{200b}": 1, "a\\u{200b} (2)": 2}


@given(st.text() | NASTY, st.integers(-5, 60))
def test_a_text_is_cut_to_the_room_that_it_takes_in_quotes(text: str, room: int) -> None:
    """A page promises a number of characters, and a character may take ten of them; no more is cut than must be."""
    for kept, longer in (
        (beginning(text, room), text[: len(beginning(text, room)) + 1]),
        (ending(text, room), text[max(0, len(text) - len(ending(text, room)) - 1) :]),
    ):
        assert len(quote(kept)) - 2 <= max(0, room)
        assert kept == text or len(quote(longer)) - 2 > room
    assert text.startswith(beginning(text, room)) and text.endswith(ending(text, room))


@pytest.mark.parametrize("character", ["a", "é", "\u202e", "\U000e0041", "\x1b", '"'])
@pytest.mark.parametrize("show", [quote, plain, visible])
def test_a_long_text_costs_no_call_for_each_of_its_characters(show: Any, character: str) -> None:
    """Everybody waits while one text is shown, and a caller chooses what is in it."""
    show(character)
    assert calls_of(lambda: show(character * 50_000)) < 20


def test_a_text_of_all_characters_there_are_is_shown_at_a_bounded_cost() -> None:
    """What is remembered of characters is bounded, so some are looked at again: a few calls for each, and no more."""
    text = "".join(map(chr, range(0x110000)))[:200_000]
    assert calls_of(lambda: visible(text)) < 12 * len(text)
