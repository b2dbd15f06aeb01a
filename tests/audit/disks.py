"""Audit files on disks that fill up, and what is in a log."""

import errno
import json
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
    found = []
    for line in path.read_bytes().split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        found.append({name: value for name, value in record.items() if name not in ("at", "prev", "hash")})
    return found
