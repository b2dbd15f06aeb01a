"""The check of a whole file: reads it once, line by line, and finds the first record that is not as it was written.

What a chain cannot show by itself: that its end was cut off, or that all of it was written anew. For that the hash of a
record has to be kept elsewhere; `anchor` looks for it.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from evi_mcp.audit.records import MAX_LINE, Flaw, Record, begun, follows, unsealed

SHOWN = 10
"""The most numbers of commands that are listed."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The first broken record: its line, from 1, and its first byte, from 0."""

    line: int
    offset: int
    why: str


@dataclass(slots=True)
class Report:
    """What a file holds, up to the first broken record if there is one."""

    records: int = 0
    first_at: str = ""
    last_at: str = ""
    last_hash: str = ""
    commands: int = 0
    open_commands: dict[int, None] = field(default_factory=dict)
    """The numbers of those that have no outcome."""
    starts: int = 0
    ends: int = 0
    recovered: int = 0
    """Unfinished records that a later one accounts for."""
    tail_bytes: int = 0
    """What there is of an unfinished record at the end."""
    anchored: bool = False
    broken: Broken | None = None

    def take(self, record: Record) -> None:
        """Counts a record in."""
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
        OSError: It cannot be read.
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
    """Whether nothing is broken, and the anchor was found if there is one."""
    return report.broken is None and (anchor is None or report.anchored)


def lines(report: Report, anchor: str | None = None) -> Iterator[str]:
    """What a person is told of it."""
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
    """Lines that are no records, until one comes that accounts for them, or does not."""

    def __init__(self, first: _Line, why: str, number: int) -> None:
        self.broken = Broken(first.number, first.offset, why)
        self.count = -1
        self.is_unfinished = False
        """Whether it can be what a killed server, or a full disk, leaves at the end of the file."""
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
