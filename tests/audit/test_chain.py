"""Whatever is done to the records of an audit log is found, at the first record that it was done to."""

import io
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.audit.records import FIRST_PREVIOUS, encoded, sealed
from evi_mcp.audit.verify import Report, is_sound, lines, verify

TEXTS = ("Hello", 'She said: "}', '{"n":7}\n', "\u202ehidden\x1b[2J", "", "漢字 and more")


def chain(texts: Sequence[str] = TEXTS) -> list[bytes]:
    """The lines of a log, with their ends."""
    previous, made = FIRST_PREVIOUS, []
    for number, text in enumerate(texts, 1):
        fields = {"at": f"2026-01-01T00:00:0{number % 10}.000Z", "type": "command", "fields": {"text": text}}
        line, previous = sealed(number, previous, encoded(fields))
        made.append(line + b"\n")
    return made


def checked(data: bytes, anchor: str | None = None) -> Report:
    return verify(io.BytesIO(data), anchor)


@given(st.lists(st.text(st.characters(codec=None, exclude_categories=()), max_size=30), min_size=1, max_size=8))
def test_a_log_as_it_was_written_is_sound(texts: list[str]) -> None:
    """Whatever was said, lone surrogates included: no text ends a line, leaves ASCII or looks like a record."""
    made = chain(texts)
    report = checked(b"".join(made))
    assert (report.broken, report.records, report.tail_bytes) == (None, len(texts), 0)
    assert report.last_hash == json.loads(made[-1])["hash"]
    assert all(line.isascii() and line.count(b"\n") == 1 and line[:-1].decode().isprintable() for line in made)


@given(st.data())
def test_any_change_of_any_byte_is_found_where_it_was_made(data: st.DataObject) -> None:
    """Issue: the first broken record is found. Only the last newline has nothing after it that would miss it."""
    made = chain()
    whole = b"".join(made)
    place = data.draw(st.integers(0, len(whole) - 2))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
    report = checked(whole[:place] + bytes([byte]) + whole[place + 1 :])
    assert report.broken is not None
    changed = whole[:place].count(b"\n")
    assert (report.broken.line, report.broken.offset) == (changed + 1, sum(map(len, made[:changed])))
    assert report.records == changed


@pytest.mark.parametrize("place", range(len(TEXTS) - 1))
def test_a_record_that_is_missing_swapped_doubled_or_added_is_found(place: int) -> None:
    """A record proves by its number and by the hash of the one before it that it stands where it was written."""
    made = chain()
    forged, _ = sealed(place + 1, json.loads(made[place])["prev"], encoded({"at": "", "type": "command"}))
    for wrong, line in (
        (made[:place] + made[place + 1 :], place + 1),
        ([*made[:place], made[place + 1], made[place], *made[place + 2 :]], place + 1),
        (made[: place + 1] + made[place:], place + 2),
        ([*made[:place], forged + b"\n", *made[place + 1 :]], place + 2),  # sound by itself, but not the one before
        ([*made[: place + 1], b"\n", *made[place + 1 :]], place + 2),
        ([*made[: place + 1], b"{}\n", *made[place + 1 :]], place + 2),
    ):
        report = checked(b"".join(wrong))
        assert report.broken is not None and report.broken.line == line


def test_what_a_chain_cannot_show_is_shown_by_a_hash_that_was_kept() -> None:
    """A log that was cut, or written anew, is a sound chain: an operator has to keep a hash where nobody writes."""
    made = chain()
    kept = checked(b"".join(made)).last_hash
    for other in (b"".join(made[:-1]), b"".join(chain(["Hello", "something else"]))):
        report = checked(other, kept)
        assert report.broken is None and not is_sound(report, kept)
        assert any("NOT FOUND" in line for line in lines(report, kept))
    later, _ = sealed(len(made) + 1, kept, encoded({"at": "", "type": "closed"}))
    report = checked(b"".join(made) + later + b"\n", kept)
    assert is_sound(report, kept) and "anchor: found" in lines(report, kept)


@given(st.binary(max_size=200).filter(lambda data: b"\n" not in data), st.integers(0, 3))
def test_what_is_no_beginning_of_the_next_record_is_not_taken_for_one(rest: bytes, records: int) -> None:
    """Issue: any file without a newline was called unbroken. A killed server leaves the beginning of a record only."""
    made = chain()
    expected = made[records]
    report = checked(b"".join(made[:records]) + rest)
    is_beginning = rest != b"" and (expected.startswith(rest) or rest.startswith(b'{"n":%d,' % (records + 1)))
    if rest and not is_beginning:
        assert report.broken is not None and report.broken.line == records + 1
        assert not is_sound(report) and report.records == records


@pytest.mark.parametrize(
    "rest",
    [
        b"notes",
        b'{"n":',
        b'{"n":6',
        b'{"n":60,"at"',
        b'{"n":7 ',
        b'{"n":07,"at"',
        b'{"n":7,"at":"\x1b',
        b'{"n":7,"at":"\xc3\xa9',
        b'{"m":7,',
        b" ",
        b"\r",
        b"\0",
    ],
)
def test_of_remains_only_those_of_the_next_record_leave_a_sound_log(rest: bytes) -> None:
    """Six records are there: the seventh may be unfinished, in ASCII, and nothing else may."""
    made = chain()
    could_be = rest == b'{"n":'
    report = checked(b"".join(made) + rest)
    assert (report.broken is None) == could_be
    assert report.tail_bytes == (len(rest) if could_be else 0)
    sound = checked(b"".join(made) + b'{"n":7,"at":"20')
    assert is_sound(sound) and any("15 bytes of an unfinished record" in line for line in lines(sound))


def test_a_last_record_that_was_changed_is_found_without_its_newline_too() -> None:
    """It is whole, so no killed server left it: only what it says is another. A part of one may look like a whole."""
    made = chain()
    changed = b"".join(made).replace(b"\\u6f22\\u5b57", b"\\u6f22\\u5b58")[:-1]
    assert changed != b"".join(made)[:-1]
    report = checked(changed)
    assert report.broken is not None and (report.broken.line, report.records) == (6, 5)
    part = b'{"n":7,"at":"2026","fields":{"x":1,"hash":"' + b"a" * 64 + b'"}'
    assert is_sound(checked(b"".join(made) + part))


def test_an_empty_file_is_no_sound_log() -> None:
    """A server writes that it has started before anything else."""
    assert checked(b"").broken is not None
