"""stdout for whoever must not wait for its reader: what is written to it is posted."""

import io
import os
import sys
from typing import Any, TextIO

from evi_mcp.writer import Writer

STDOUT = 1
FAREWELL_S = 1.0
"""How long the last lines may take where nobody reads stdout."""


class Posted(io.RawIOBase):
    """stdout as a binary file; 1 MiB of it may wait for its reader, and what was dropped beyond is counted."""

    def __init__(self) -> None:
        self._writer = Writer(STDOUT, lambda count: b"(%d lines were dropped: stdout was not read)\n" % count)

    @property
    def text(self) -> TextIO:
        """The same as a text file. Writing to it raises an `OSError` once stdout takes no more."""
        raw: Any = self  # a raw file will do, since nothing is kept back
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
        """Waits until all is shown, for a second at most."""
        self._writer.flush(FAREWELL_S)
