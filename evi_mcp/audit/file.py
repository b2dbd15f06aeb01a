"""The file: one process opens it and appends records; nothing in it is ever cut or overwritten.

A record ends with a newline. So a `kill -9` or a full disk leaves an unfinished record as a last line without a
newline. It stays where it is. The next record begins on a new line, says `recovered`, and holds the size and the
SHA-256 of the unfinished one, so that nobody can later pass off other bytes as an unfinished record.
"""

import errno
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

from evi_mcp.audit.records import (
    END,
    FIRST_PREVIOUS,
    MAX_LINE,
    Flaw,
    Record,
    begun,
    follows,
    recovery,
    sealed,
    unsealed,
)
from evi_mcp.audit.verify import verify
from evi_mcp.errors import InvalidSetting
from evi_mcp.quoting import quote

VARIABLE = "EVI_MCP_AUDIT_LOG"

_MODE = 0o600
_WINDOW = 64 * 1024
_READ_BACK = 4096
_BINARY: int = getattr(os, "O_BINARY", 0)  # without it, Windows changes line ends
_NO_WAIT: int = getattr(os, "O_NONBLOCK", 0)  # without it, opening a named pipe blocks


class Tail(NamedTuple):
    """The end of a file: its last record (`None` if it has none), the bytes of an unfinished record after it, and
    whether the file ends with a newline."""

    last: Record | None
    torn: bytes
    ended: bool


class AuditFile:
    """An audit log that is open for writing. Not safe for two threads at once."""

    def __init__(self, descriptor: int, size: int, tail: Tail, now: Callable[[], float]) -> None:
        self._descriptor = descriptor
        self._now = now
        self._size = size
        self._torn, self._ended = tail.torn, tail.ended
        self._number, self._hash = (tail.last.number, tail.last.hash) if tail.last else (0, FIRST_PREVIOUS)
        self._written = _read(descriptor, max(0, size - _READ_BACK), size)
        self._times = _times(os.fstat(descriptor))
        self._bad_times: tuple[int, ...] | None = None

    @classmethod
    def open(cls, path: Path, now: Callable[[], float]) -> Self:
        """Opens a log, or makes one that only its owner may read.

        Args:
            now: The time in Unix seconds, for records of its own.

        Raises:
            InvalidSetting: It cannot be written, another process writes it, or it does not end as an audit log does.
        """
        try:
            new = not path.exists()
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _BINARY | _NO_WAIT, _MODE)
        except (OSError, ValueError) as error:
            raise _unusable(path, f"cannot be written: {reason(error)}") from None
        try:
            _lock(descriptor, path)
            size, tail = _checked(descriptor, path)
            if new:
                _sync_folder(path)
            return cls(descriptor, size, tail, now)
        except BaseException:
            os.close(descriptor)
            raise

    def append(self, text: str, *, of: int | None = None) -> int:
        """Writes a record and returns its number. Then the operating system has it; `sync` puts it on the disk.

        Args:
            text, of: As for `sealed`.

        Raises:
            OSError: It was not written, or only in part. A `recovered` record then accounts for the part.
        """
        self._check()
        if self._torn:
            self._add(recovery(self._torn.removesuffix(b"\n"), self._now()))
        self._add(text, of)
        return self._number

    def _add(self, text: str, of: int | None = None) -> None:
        line, digest = sealed(self._number + 1, self._hash, text, of)
        lead = b"" if self._ended else b"\n"
        data = memoryview(lead + line + b"\n")
        written = 0
        try:
            while written < len(data):
                written += self._write(data[written:])
        except OSError:
            if written < len(data) - 1:  # otherwise only its newline is missing, and the next record adds it
                self._torn += data[0 if self._torn else len(lead) : written]
                raise
        finally:
            self._size += written
            if written:
                self._ended = data[written - 1] == ord("\n")
                self._written = (self._written + data[:written])[-_READ_BACK:]
                self._times = _times(os.fstat(self._descriptor))
        self._torn = b""
        self._number, self._hash = self._number + 1, digest

    def _write(self, data: memoryview) -> int:
        return os.write(self._descriptor, data)

    def sync(self) -> None:
        """Returns when all that was appended is on the disk.

        Raises:
            OSError: It may not be on the disk.
        """
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Closes the file and releases its lock."""
        os.close(self._descriptor)

    def _check(self) -> None:
        """Refuses to write to a file that was removed, or that somebody else has changed.

        If the file's times show that somebody has touched it, the whole file is verified; if it is unchanged (it was
        moved, say), writing goes on. What this cannot see: a change that keeps the size, further back than 4 KiB,
        within the clock tick (on Linux some 4 ms) of our own last write. `verify` finds that too.
        """
        found = os.fstat(self._descriptor)
        if found.st_nlink == 0:
            raise OSError(errno.ENOENT, "the file was removed; restart the server to begin another one")
        if found.st_size != self._size or not self._ends_with(self._written) or not self._is_untouched(found):
            raise OSError(errno.EIO, "somebody else has changed the file; restart the server to have it checked")

    def _is_untouched(self, found: os.stat_result) -> bool:
        times = _times(found)
        if times != self._times and times != self._bad_times:
            if self._is_sound():
                self._times = times
            else:
                self._bad_times = times  # so that it is not read again for each command
        return times == self._times

    def _is_sound(self) -> bool:
        """Whether the whole file is still as this server left it."""
        with open(os.dup(self._descriptor), "rb") as stream:
            stream.seek(0)
            report = verify(stream)
        chained = report.broken is None or self._number == 0
        return chained and (report.last_hash or FIRST_PREVIOUS) == self._hash and self._ends_with(self._torn)

    def _ends_with(self, end: bytes) -> bool:
        return _read(self._descriptor, self._size - len(end), self._size) == end


def check(path: Path) -> str:
    """Checks that a log can be written, without writing anything. Returns its state, for people.

    Raises:
        InvalidSetting: As `AuditFile.open`, except that it does not notice another process that writes to it.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | _BINARY | _NO_WAIT)
    except FileNotFoundError as error:
        if os.access(path.parent, os.W_OK | os.X_OK):
            return "will be made at the first start"
        raise _unusable(path, f"cannot be made: {reason(error)}") from None
    except (OSError, ValueError) as error:
        raise _unusable(path, f"cannot be written: {reason(error)}") from None
    try:
        last = _checked(descriptor, path)[1].last
    finally:
        os.close(descriptor)
    return f"goes on after record {last.number}" if last else "has no record yet"


def reason(error: Exception) -> str:
    """The operating system's text for an error."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _checked(descriptor: int, path: Path) -> tuple[int, Tail]:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise _unusable(path, "is not a regular file")
    try:
        return found.st_size, _tail(descriptor, found.st_size)
    except OSError as error:
        raise _unusable(path, f"cannot be read: {reason(error)}") from None
    except Flaw as flaw:
        raise _unusable(
            path,
            f"ends with what is no record of an audit log: {flaw}; nothing was written to it."
            " `evi-mcp audit verify` shows the first broken record; keep the file, and name another one",
        ) from None


def _tail(descriptor: int, size: int) -> Tail:
    """Reads backwards to the last line that looks like a record.

    Raises:
        Flaw: It is no record, or what comes after it is no unfinished record.
    """
    window = _WINDOW
    while True:
        begin = max(0, size - window)
        lines = _read(descriptor, begin, size).split(b"\n")  # the last has no newline; the first may lack its beginning
        for at in range(len(lines) - 2, 0 if begin else -1, -1):
            if lines[at].endswith(END):
                return _ending(unsealed(lines[at]), lines[at + 1 :])
        if begin == 0:
            return _ending(None, lines)
        if window > 2 * MAX_LINE:
            raise Flaw(f"its last {window} bytes have no record in them")
        window *= 4


def _ending(last: Record | None, rest: list[bytes]) -> Tail:
    if len(rest) == 1 and rest[0].endswith(END):
        try:
            whole = unsealed(rest[0])
            follows(whole, last)
            return Tail(whole, b"", ended=False)
        except Flaw:
            pass  # an unfinished record that only looks whole
    if rest == [b""]:
        return Tail(last, b"", ended=True)
    for line in rest:
        begun(line, 1 if last is None else last.number + 1)
    return Tail(last, b"\n".join(rest), ended=False)


def _times(found: os.stat_result) -> tuple[int, ...]:
    """When the file was changed last; empty on Windows, which updates these times late."""
    return () if sys.platform == "win32" else (found.st_mtime_ns, found.st_ctime_ns)


def _read(descriptor: int, begin: int, end: int) -> bytes:
    parts = []
    os.lseek(descriptor, begin, os.SEEK_SET)  # writes still go to the end
    while begin < end and (part := os.read(descriptor, end - begin)):
        parts.append(part)
        begin += len(part)
    return b"".join(parts)


def _lock(descriptor: int, path: Path) -> None:
    """Locks the file until it is closed: two processes in one file would each continue a chain of their own."""
    if sys.platform == "win32":
        return  # Windows has no such lock; there, `append` refuses after the first record of another process
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _unusable(path, "another server writes to it; give each server a file of its own") from None
    except OSError as error:
        raise _unusable(path, f"cannot be locked: {reason(error)}") from None


def _sync_folder(path: Path) -> None:
    """Makes sure that a new file is still there after a power failure, if the system can sync folders."""
    try:
        descriptor = os.open(path.parent, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _unusable(path: Path, why: str) -> InvalidSetting:
    return InvalidSetting(f"{VARIABLE}: {quote(str(path))} {why}.")
