"""What a person is told of a log: what is in it, what is missing, and what that means."""

import io

from evi_mcp.audit.records import FIRST_PREVIOUS, encoded, sealed
from evi_mcp.audit.verify import SHOWN, is_sound, lines, verify

Kind = str | tuple[str, int]


def log(*kinds: Kind, rest: bytes = b"") -> list[str]:
    """What is said of a log of these records; an outcome comes with the number that it is about."""
    previous, data = FIRST_PREVIOUS, b""
    for number, kind in enumerate(kinds, 1):
        kind, of = kind if isinstance(kind, tuple) else (kind, None)
        fields = {"at": f"2026-01-01T00:00:{number:02}.000Z", "type": kind}
        line, previous = sealed(number, previous, encoded(fields), of)
        data += line + b"\n"
    report = verify(io.BytesIO(data + rest))
    assert is_sound(report) and report.last_hash == previous
    said = list(lines(report))
    assert said[1] == f"last hash: {previous}"
    return [said[0], *said[2:]]


def test_a_log_in_which_all_is_well_says_so() -> None:
    """Times of the first and the last record, and that each command has its outcome."""
    assert log("opened", "command", ("outcome", 2), ("outcome", 2), "refused", "closed") == [
        "6 records, from 2026-01-01T00:00:01.000Z to 2026-01-01T00:00:06.000Z: the chain is unbroken",
        "1 command, each with its outcome",
    ]


def test_commands_without_an_outcome_are_named() -> None:
    """They may have reached their chats: whoever looks into an incident begins with them."""
    said = log("opened", "command", "command", "command", ("outcome", 3), "closed")
    assert said[1] == "3 commands, 2 without an outcome (records 2, 4): they may or may not have reached their chats"
    many = log("opened", *["command"] * (SHOWN + 1), "closed")
    assert f"{SHOWN + 1} without an outcome" in many[1]
    assert f"{', '.join(str(n) for n in range(2, SHOWN + 2))}, ...)" in many[1]
    exactly = log("opened", *["command"] * SHOWN, "closed")
    assert "..." not in exactly[1]


def test_starts_without_an_end_are_counted() -> None:
    """A server that was killed leaves one."""
    said = log("opened", "closed", "opened", "opened", "closed")
    assert said[2:] == ["3 starts, 1 of them without an end: killed, or still running"]


def test_remains_at_the_end_are_told_with_their_size() -> None:
    """A reader must not take them for a record that is missing."""
    said = log("opened", rest=b'{"n":2,"at"')
    assert said[0] == "1 record, from 2026-01-01T00:00:01.000Z to 2026-01-01T00:00:01.000Z: the chain is unbroken"
    assert said[-1].startswith("at the end 11 bytes of an unfinished record")


def test_a_broken_log_is_told_by_its_place_alone() -> None:
    """What comes after a break proves nothing, so it is not counted."""
    line, _ = sealed(1, FIRST_PREVIOUS, encoded({"at": "2026-01-01T00:00:01.000Z", "type": "opened"}))
    report = verify(io.BytesIO(line + b"\nnotes\n"))
    assert list(lines(report)) == [
        f"line 2, byte {len(line) + 1}: it is not a record",
        "before it: 1 record, from 2026-01-01T00:00:01.000Z to 2026-01-01T00:00:01.000Z",
    ]
