"""Checks a whole file: reads it once, line by line, and finds the first record that was changed.

The chain alone cannot show that its end was cut off, or that the whole file was rewritten. To notice that, keep the
hash of a record elsewhere and pass it as `anchor`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from evi_mcp.audit.records import MAX_LINE, Flaw, Record, begun, follows, unsealed

SHOWN = 10
"""The most commands without an outcome whose numbers are listed."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The first broken record: its line, from 1, and its first byte, from 0."""

    line: int
    offset: int
    why: str


@dataclass(slots=True)
class Report:
    """What a file holds, up to the first broken record, if there is one."""

    records: int = 0
    first_at: str = ""
    last_at: str = ""
    last_hash: str = ""
    commands: int = 0
    open_commands: dict[int, None] = field(default_factory=dict)
    """The numbers of the commands without an outcome."""
    starts: int = 0
    ends: int = 0
    recovered: int = 0
    """How many unfinished records a later record accounts for."""
    tail_bytes: int = 0
    """The size of an unfinished record at the end of the file, in bytes."""
    anchored: bool = False
    broken: Broken | None = None

    def take(self, record: Record) -> None:
        """Adds a record to the counts."""
        self.records += 1
        self.last_at = str(record.fields.get("at", ""))
        self.first_at = self.first_at or self.last_at
        self.last_hash = record.hash
        match record.fields.get("type"):
            case "command":
                self.commands += 1
                self.open_commands[record.number] = None
            case "outcome":
                about = record.fields.get("of")
                self.open_commands.pop(about if isinstance(about, int) else 0, None)
            case "opened":
                self.starts += 1
            case "closed":
                self.ends += 1
            case "recovered":
                self.recovered += 1


def verify(stream: BinaryIO, anchor: str | None = None) -> Report:
    """Checks an audit log.

    Args:
        anchor: The hash of a record, kept from an earlier check; `None` looks for none.

    Raises:
        OSError: The file cannot be read.
    """
    report = Report()
    last: Record | None = None
    torn: _Torn | None = None
    for line in _lines(stream):
        try:
            record = unsealed(line.body)
        except Flaw as flaw:
            torn = torn or _Torn(line, str(flaw), report.records + 1)
            torn.add(line)
            continue
        if torn is not None and not torn.is_accounted_for_by(record):
            report.broken = torn.broken
            return report
        try:
            follows(record, last)
        except Flaw as flaw:
            report.broken = Broken(line.number, line.offset, str(flaw))
            return report
        torn, last = None, record
        report.take(record)
        report.anchored = report.anchored or record.hash == anchor
    if torn is not None and not torn.is_unfinished:
        report.broken = torn.broken
    elif torn is not None:
        report.tail_bytes = torn.count
    elif last is None:
        report.broken = Broken(1, 0, "there is no record")
    return report


def is_sound(report: Report, anchor: str | None = None) -> bool:
    """Whether no record is broken, and the anchor, if there is one, was found."""
    return report.broken is None and (anchor is None or report.anchored)


def lines(report: Report, anchor: str | None = None) -> Iterator[str]:
    """The report in lines for a person."""
    span = f", from {report.first_at} to {report.last_at}" if report.records else ""
    if report.broken:
        broken = report.broken
        yield f"line {broken.line}, byte {broken.offset}: {broken.why}"
        yield f"before it: {_counted(report.records, 'record')}{span}"
        return
    yield f"{_counted(report.records, 'record')}{span}: the chain is unbroken"
    yield f"last hash: {report.last_hash or 'none'}"
    if anchor is not None:
        missing = "NOT FOUND: this is another log, or not all of it"
        yield f"anchor: {'found' if report.anchored else missing}"
    yield f"{_counted(report.commands, 'command')}, {_without_outcome(report)}"
    if killed := report.starts - report.ends:
        yield f"{_counted(report.starts, 'start')}, {killed} of them without an end: killed, or still running"
    if report.recovered:
        yield f"{_counted(report.recovered, 'unfinished record')}, each accounted for by the record after it"
    if report.tail_bytes:
        yield (
            f"at the end {_counted(report.tail_bytes, 'byte')} of an unfinished record: the server was killed, or is"
            " writing it; its next record will account for it"
        )


def _without_outcome(report: Report) -> str:
    numbers = list(report.open_commands)
    if not numbers:
        return "each with its outcome"
    shown = ", ".join(map(str, numbers[:SHOWN])) + (", ..." if len(numbers) > SHOWN else "")
    return f"{len(numbers)} without an outcome (records {shown}): they may or may not have reached their chats"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    offset: int
    body: bytes
    ended: bool


class _Torn:
    """Successive lines that are no records; the next record may account for them."""

    def __init__(self, first: _Line, why: str, number: int) -> None:
        self.broken = Broken(first.number, first.offset, why)
        self.count = -1
        self.is_unfinished = False
        """Whether these lines can be the unfinished record that a killed server or a full disk leaves at the end."""
        self._number = number
        self._begun = True
        self._digest = hashlib.sha256()

    def add(self, line: _Line) -> None:
        self._digest.update(line.body if self.count < 0 else b"\n" + line.body)
        self.count += 1 + len(line.body)
        try:
            begun(line.body, self._number)
        except Flaw:
            self._begun = False
        self.is_unfinished = self._begun and not line.ended

    def is_accounted_for_by(self, record: Record) -> bool:
        said = record.fields
        return said.get("type") == "recovered" and (said.get("torn_bytes"), said.get("torn_sha256")) == (
            self.count,
            self._digest.hexdigest(),
        )


def _lines(stream: BinaryIO) -> Iterator[_Line]:
    number, offset = 1, 0
    while data := stream.readline(MAX_LINE):
        ended = data.endswith(b"\n")
        yield _Line(number, offset, data[:-1] if ended else data, ended)
        number += ended
        offset += len(data)
