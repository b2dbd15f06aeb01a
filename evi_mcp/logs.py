"""The log on stderr: one line for each record, in `key=value` pairs that people and programs can read.

    time=2026-11-22T14:03:07.123Z level=INFO logger=evi_mcp.supervision msg="chat state" chat_id=c-1 state=live

No level logs what is said in a chat. What a service says stands in quotes.

The process that started this one owns stderr and may never read it. So nothing here waits for stderr: one `Writer`
writes everything in a thread of its own. After `take_strays`, it also writes what other code prints.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

from evi_mcp.quoting import name
from evi_mcp.times import iso
from evi_mcp.writer import Writer

STDOUT, STDERR = 1, 2
FLUSH_S = 1.0
"""How long the ending process waits until somebody has read the last lines, in seconds."""
REPEAT_S = 60.0
"""A line that a client can cause is logged once in so many seconds; repeats are counted."""
MAX_REPEATED = 256
"""How many different lines are counted; one more drops the oldest with its count."""
MAX_STRAY = 64 * 1024
"""Bytes of one line that other code printed; a longer line is split."""

_FIELDS = "evi_mcp_fields"
_CHATTY = ("mcp", "httpx", "httpcore", "websockets")
_CAUSED_BY_CLIENTS = ("mcp", "evi_mcp.server.sdk", "evi_mcp.server.boundary")


def fields(**values: Any) -> dict[str, Any]:
    """The `extra` of a log call: facts beside its message. Those that are `None` are left out."""
    return {_FIELDS: {key: value for key, value in values.items() if value is not None}}


class KeyValueFormatter(logging.Formatter):
    """Records as `key=value` pairs; a traceback follows on lines of its own.

    Args:
        mask: Removes secrets from the whole line: the text of a foreign exception may repeat one.
    """

    def __init__(self, mask: Callable[[str], str] = str) -> None:
        super().__init__()
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        pairs = {"level": record.levelname, "logger": record.name, "msg": record.getMessage()}
        pairs |= getattr(record, _FIELDS, {})
        line = f"time={iso(record.created)} " + " ".join(f"{key}={_value(value)}" for key, value in pairs.items())
        return self._mask(f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line)


class Repeats(logging.Filter):
    """Passes a line that a client can cause once in `REPEAT_S`, with `repeated`: how many were left out before it.

    Two records are of one kind if they have the same logger, level and message; arguments and fields do not count.

    Args:
        elapsed: Returns seconds since an arbitrary moment.
    """

    def __init__(self, elapsed: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._elapsed = elapsed
        self._kinds: dict[tuple[str, int, str], _Kind] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(_CAUSED_BY_CLIENTS):
            return True
        key, now = (record.name, record.levelno, str(record.msg)), self._elapsed()
        kind = self._kinds.get(key)
        if kind is not None and now - kind.passed_at < REPEAT_S:
            kind.left_out += 1
            return False
        if kind is not None and kind.left_out:
            record.__dict__[_FIELDS] = {**getattr(record, _FIELDS, {}), "repeated": kind.left_out}
        elif kind is None and len(self._kinds) == MAX_REPEATED:
            del self._kinds[next(iter(self._kinds))]
        self._kinds[key] = _Kind(now)
        return True

    def left_out(self) -> list[logging.LogRecord]:
        """A record for each kind of line that was left out since it was last logged; resets the counts."""
        told = []
        for (logger, level, message), kind in self._kinds.items():
            if kind.left_out:
                record = logging.LogRecord(logger, level, "", 0, message, None, None)
                record.__dict__.update(fields(repeated=kind.left_out))
                told.append(record)
                kind.left_out = 0
        return told


class _Kind:
    def __init__(self, passed_at: float) -> None:
        self.passed_at = passed_at
        self.left_out = 0


class _Handler(logging.Handler):
    """Posts each record to the writer of stderr."""

    def __init__(self, formatter: KeyValueFormatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.repeats = Repeats()
        self.addFilter(self.repeats)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            say(self.format(record))
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """The logging module calls it at the end of the process."""
        flush()


def configure(level: str, mask: Callable[[str], str] = str) -> None:
    """Logs to stderr from this level on, after `mask`. Call it before the SDK sets up a handler of its own."""
    logging.basicConfig(level=level, handlers=[_Handler(KeyValueFormatter(mask))], force=True)
    # At INFO these log requests, and so what callers said.
    for library in _CHATTY:
        logging.getLogger(library).setLevel(max(logging.WARNING, logging.getLogger().level))


def say(text: str) -> None:
    """Writes a line to stderr, after everything that was logged before."""
    _stderr.post(text.encode("utf-8", "backslashreplace") + b"\n")


def flush(seconds: float = FLUSH_S) -> None:
    """Waits until stderr has taken everything, at most this long."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Handler):
            for record in handler.repeats.left_out():
                say(handler.format(record))
    _stderr.flush(seconds)


def take_strays(mask: Callable[[str], str] = str) -> None:
    """From now on everything that other code prints goes to the log: never to stdout, and never where it could block.

    File descriptor 1, `sys.stdout` and `sys.stderr` become a pipe that this module reads. File descriptor 2 stays as it
    is, so that a crashing interpreter can still print why.
    """
    read, write = os.pipe()
    os.dup2(write, STDOUT)
    os.close(write)
    threading.Thread(target=_pass_on, args=(read, mask), name="strays", daemon=True).start()
    sys.stdout = sys.stderr = _text(STDOUT)


def _pass_on(descriptor: int, mask: Callable[[str], str]) -> None:
    with open(descriptor, "rb") as pipe:
        for line in iter(lambda: pipe.readline(MAX_STRAY), b""):
            say(mask(line.decode("utf-8", "backslashreplace").rstrip("\n")))


def _text(descriptor: int) -> TextIO:
    return open(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _dropped(count: int) -> bytes:
    record = logging.LogRecord(__name__, logging.WARNING, "", 0, "stderr was not read, lines were dropped", None, None)
    record.__dict__.update(fields(lines=count))
    return KeyValueFormatter().format(record).encode() + b"\n"


_stderr = Writer(STDERR, _dropped)


def _value(value: Any) -> str:
    return name(value) if isinstance(value, str) else str(value)
