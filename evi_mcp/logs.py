"""The log on stderr: one line for each record, in `key=value` pairs that people and programs can read.

    time=2026-11-22T14:03:07.123Z level=INFO logger=evi_mcp.supervision msg="chat state" chat_id=c-1 state=live

Nothing that is said in a chat goes into it, at any level; what a service says stands in quotes.
"""

import logging
import sys
from collections.abc import Callable
from typing import Any

from evi_mcp.quoting import name
from evi_mcp.times import iso

_FIELDS = "evi_mcp_fields"
_CHATTY = ("mcp", "httpx", "httpcore", "websockets")


def fields(**values: Any) -> dict[str, Any]:
    """The `extra` of a log call: facts beside its message. Those that are `None` are left out."""
    return {_FIELDS: {key: value for key, value in values.items() if value is not None}}


class KeyValueFormatter(logging.Formatter):
    """Records as `key=value` pairs; a traceback follows on lines of its own.

    Args:
        mask: Takes secrets out of all of it: the text of somebody's exception may repeat one.
    """

    def __init__(self, mask: Callable[[str], str] = str) -> None:
        super().__init__()
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        pairs = {"level": record.levelname, "logger": record.name, "msg": record.getMessage()}
        pairs |= getattr(record, _FIELDS, {})
        line = f"time={iso(record.created)} " + " ".join(f"{key}={_value(value)}" for key, value in pairs.items())
        return self._mask(f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line)


def configure(level: str, mask: Callable[[str], str] = str) -> None:
    """Logs to stderr from this level on, without what `mask` takes out; before the SDK would set up a handler."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValueFormatter(mask))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # These repeat requests, and so what callers said, at INFO.
    for library in _CHATTY:
        logging.getLogger(library).setLevel(max(logging.WARNING, logging.getLogger().level))


def _value(value: Any) -> str:
    return name(value) if isinstance(value, str) else str(value)
