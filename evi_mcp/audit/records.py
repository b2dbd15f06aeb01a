"""The hash chain: turns a record into a line, and checks a line.

A line is a JSON object in plain ASCII, so that no text in it can act on a terminal. `n` comes first and counts up from
1; `prev` is the `hash` of the record before, or 64 zeros in the first. `hash` comes last: the SHA-256 of the line as it
would be without it. The hash covers the bytes, so that a checker need not write JSON in the same way.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evi_mcp.times import iso

FIRST_PREVIOUS = "0" * 64
END = b'"}'
"""The last bytes of every record."""

MAX_LINE = 64 * 2**20
"""The longest line that can be a record, in bytes: the largest command has 16 MiB, and up to 48 MiB with escapes."""

_PRINTABLE = re.compile(rb"[ -~]*")
_SEALED = re.compile(rb'(\{"n":.*),"hash":"([0-9a-f]{64})"\}', re.DOTALL)


class Flaw(Exception):
    """A line is no record, or not the expected one; `str()` says why."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it was read; `fields` is the whole object."""

    number: int
    previous: str
    hash: str
    fields: Mapping[str, Any]


def encoded(fields: Mapping[str, Any]) -> str:
    """The fields of a record as a JSON object, ready for `sealed`. Numbers that JSON does not have become text."""
    try:
        return _dumped(fields)
    except ValueError:
        return _dumped(json.loads(json.dumps(fields, default=str), parse_constant=str))


def _dumped(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False, default=str)


def sealed(number: int, previous: str, text: str, of: int | None = None) -> tuple[bytes, str]:
    """The line of a record, without its end of line, and its hash.

    Args:
        text: From `encoded`; not empty.
        of: The number of the record that this one is about.
    """
    about = "" if of is None else f'"of":{of},'
    body = f'{{"n":{number},{about}{text[1:-1]},"prev":"{previous}"'
    digest = _digest(body.encode("ascii"))
    return f'{body},"hash":"{digest}"}}'.encode("ascii"), digest


def unsealed(line: bytes) -> Record:
    """Reads a line, without its end.

    Raises:
        Flaw: It is not a record of this server's, or it was changed.
    """
    match = _SEALED.fullmatch(line)
    if match is None:
        raise Flaw("it is not a record")
    body, digest = match.groups()
    if _digest(body) != digest.decode():
        raise Flaw("it was changed: its hash is another")
    try:
        fields = json.loads(line)
        number, previous = fields["n"], fields["prev"]
    except (ValueError, KeyError, RecursionError):
        raise Flaw("it is not a record") from None
    return Record(number, previous, digest.decode(), fields)


def follows(record: Record, last: Record | None) -> None:
    """Checks that a record is the one after `last`, or the first one if `last` is `None`.

    Raises:
        Flaw: It is another record.
    """
    number, previous = (0, FIRST_PREVIOUS) if last is None else (last.number, last.hash)
    if record.number != number + 1:
        raise Flaw(f"number {number + 1} has to stand here, and this is number {record.number}")
    if record.previous != previous:
        raise Flaw("it does not hold the hash of the record before")


def begun(line: bytes, number: int) -> None:
    """Checks that a line can be the unfinished record of this number.

    Raises:
        Flaw: It is not the beginning of that record.
    """
    beginning = b'{"n":%d,' % number
    is_beginning = line.startswith(beginning) or beginning.startswith(line)
    if not line or not is_beginning or not _PRINTABLE.fullmatch(line):
        raise Flaw("it is not a record, nor the beginning of one")
    if line.endswith(END) and _is_json(line):
        raise Flaw("it was changed: it is whole, and its hash is another")


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def recovery(torn: bytes, at: float) -> str:
    """The fields of a `recovered` record, which accounts for the unfinished record before it."""
    return encoded(
        {
            "at": iso(at),
            "type": "recovered",
            "why": "the record before was not finished: the process was killed, or the disk was full",
            "torn_bytes": len(torn),
            "torn_sha256": hashlib.sha256(torn).hexdigest(),
        }
    )


def _digest(body: bytes) -> str:
    return hashlib.sha256(body + b"}").hexdigest()
