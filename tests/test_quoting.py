"""What callers say is data: inside the quotes nothing acts, and nothing gets out."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.quoting import name, plain, quote

NASTY = st.text(st.sampled_from('"\\\n\r\t[]0 1{}\u202e\u200b\u2028\u2029\x1b\x00\U000e0041\ufe0f\u00ad\ud800aé'))


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
