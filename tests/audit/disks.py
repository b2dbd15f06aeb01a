"""Audit files on disks that fill up, and what is in a log."""

import errno
import json
import os
from pathlib import Path
from typing import Any

from evi_mcp.audit.file import AuditFile


class SmallDisk(AuditFile):
    """A real file on a disk that has this many bytes left; `None` for as many as are wanted."""

    room: int | None = None
    syncs = True

    def _write(self, data: memoryview) -> int:
        if self.room is None:
            return super()._write(data)
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = super()._write(data[: self.room])
        self.room -= written
        return written

    def sync(self) -> None:
        if not self.syncs:
            raise OSError(errno.EIO, "Input/output error")
        super().sync()


def records(path: Path) -> list[dict[str, Any]]:
    """Every line that is JSON, without what the chain needs."""
    return parsed(path.read_bytes())


def parsed(content: bytes) -> list[dict[str, Any]]:
    """As `records`, of what is in a file."""
    found = []
    for line in content.split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        found.append({name: value for name, value in record.items() if name not in ("at", "prev", "hash")})
    return found


class Power:
    """Knows what a disk keeps when the power fails: what it had when it was last told to keep it.

    It stands where `os.fsync` does, so a file that is only written, and never synced, keeps nothing.
    """

    def __init__(self) -> None:
        self._fsync = os.fsync
        self._kept: dict[int, int] = {}
        self.syncs = 0

    def fsync(self, descriptor: int) -> None:
        self._fsync(descriptor)
        found = os.fstat(descriptor)
        self._kept[found.st_ino] = found.st_size
        self.syncs += 1

    def left_of(self, path: Path) -> bytes:
        """What is found of the file after a power failure now: nothing, if its folder does not know it."""
        if path.parent.stat().st_ino not in self._kept:
            return b""
        return path.read_bytes()[: self._kept.get(path.stat().st_ino, 0)]
