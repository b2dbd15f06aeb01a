"""Prints lines: on a terminal it rewrites an interim line in place; to a pipe or a file it prints plain lines."""

import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from evi_mcp.cli.terminal.lines import CHAT, Line
from evi_mcp.writer import discard

INDENT = 20
NARROWEST = 10
"""A text is wrapped to at least this many columns."""

_ERASE = Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))


class _Console(Console):
    """A console that raises if its reader has gone; rich's own would end the process."""

    def on_broken_pipe(self) -> None:
        raise  # it is called where the BrokenPipeError is handled


class Screen:
    """Prints lines to stdout. `show` may be called from a thread, and blocks while nobody reads stdout.

    On a terminal the rows of a wrapped line are indented, so that no speech stands in the column of the times.
    Elsewhere a line is never wrapped, has no colours or escapes, and interim lines are left out.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file or sys.stdout
        if hasattr(self._file, "reconfigure"):
            self._file.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 must not end the program
        self.console = _Console(file=self._file, highlight=False)
        self._is_terminal = self._file.isatty()
        self._lock = threading.Lock()
        self._interim: Line | None = None

    def show(self, lines: Iterable[Line]) -> None:
        """Shows the lines, in order.

        Raises:
            OSError: stdout takes no more; a `BrokenPipeError` if its reader has gone. Later lines are discarded.
        """
        with self._lock:
            try:
                with self.console:
                    self._show(lines)
            except OSError:
                self._discard_the_rest()
                raise

    def _show(self, lines: Iterable[Line]) -> None:
        in_place = self._is_terminal and not self.console.is_dumb_terminal
        if self._interim is not None:
            self.console.control(_ERASE)
        for line in lines:
            if line.interim:
                self._interim = line if in_place else None
                continue
            if self._interim is not None and line.label in (self._interim.label, CHAT):
                self._interim = None
            self.console.print(self._laid_out(line), soft_wrap=True)
        if self._interim is not None:
            self.console.print(self._shortened(self._interim), soft_wrap=True, end="")

    def _laid_out(self, line: Line) -> Text:
        body = line.body
        if self._is_terminal:
            room = max(NARROWEST, self.console.width - INDENT)
            rows = body.wrap(self.console, room, overflow="fold")
            for row in rows:
                row.rstrip()
            body = Text("\n" + " " * INDENT).join(rows)
        return _head(line).append_text(body)

    def _shortened(self, line: Line) -> Text:
        """The end of an interim line, which is what is new, in one row: only one row can be rewritten reliably."""
        room = max(NARROWEST, self.console.width - INDENT - 2)
        whole = line.body.plain
        shown = whole[-room:]
        while cell_len(shown) > room:
            shown = shown[1:]
        return _head(line).append("…" if len(shown) < len(whole) else " ").append(shown, style=line.body.style)

    def _discard_the_rest(self) -> None:
        self.console.quiet = True
        with suppress(OSError):  # there is no descriptor behind it
            discard(self._file.fileno())


def _head(line: Line) -> Text:
    return Text.assemble((f"{line.when:8} ", "dim"), (f"{line.label:>9}  ", line.style))
