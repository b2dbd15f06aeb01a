"""A stdout that never blocks: a thread writes what is posted to it."""

import io
import os
import sys
from typing import Any, TextIO

from evi_mcp.writer import Writer

STDOUT = 1
FAREWELL_S = 1.0
"""How long to wait until the last lines are read, in seconds."""


class Posted(io.RawIOBase):
    """stdout as a binary file. At most 1 MiB waits to be read; lines beyond that are dropped and counted."""

    def __init__(self) -> None:
        self._writer = Writer(STDOUT, lambda count: b"(%d lines were dropped: stdout was not read)\n" % count)

    @property
    def text(self) -> TextIO:
        """stdout as a text file. Writing to it raises an `OSError` once stdout takes no more."""
        raw: Any = self  # a raw file is enough, because nothing is buffered
        return io.TextIOWrapper(raw, sys.stdout.encoding, "backslashreplace", write_through=True)

    def write(self, data: bytes) -> int:  # type: ignore[override]  # nothing else is ever written
        if self._writer.error is not None:
            raise self._writer.error
        self._writer.post(bytes(data))
        return len(data)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(STDOUT)

    def fileno(self) -> int:
        return STDOUT

    def farewell(self) -> None:
        """Waits until everything is written, for at most `FAREWELL_S`."""
        self._writer.flush(FAREWELL_S)
