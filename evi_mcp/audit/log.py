"""The audit log: the journal of commands in a file.

A command is on the disk (`fsync`) before the first byte of it goes to a socket; otherwise it is refused (`Unrecorded`)
and nothing is sent. Commands that come together share one `fsync`. Measured with an `fsync` of 0.15 ms: a single
command takes 0.7 ms longer, and each of 500 at once 0.15 ms. Outcomes do not wait for the disk: the operating system
keeps them if the process is killed, and only a power failure can lose them.

One thread writes the records in the order of posting, so that a slow disk delays only those who wait for a record. An
outcome that cannot be written now is deferred: it is kept, and written first once writing works again. So is a command
that a recorded command has announced (a pause says when it ends): a full disk must not leave a caller with a mute
assistant.
"""

import logging
import math
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from evi_mcp import logs
from evi_mcp.access.callers import Caller
from evi_mcp.audit.file import AuditFile, reason
from evi_mcp.audit.records import encoded
from evi_mcp.clock import Clock, timeout
from evi_mcp.errors import InvalidSetting
from evi_mcp.ledger.journal import Entry, described
from evi_mcp.protocol.redaction import Mask, redact
from evi_mcp.times import iso

MAX_QUEUED = 10_000
"""The most records that wait to be written, deferred ones included. Beyond, commands are refused, and refusals are not
recorded."""
MAX_HELD = 64 * 2**20
"""The most characters of these records; the largest command takes at most 48 Mi."""
MAX_ARGUMENTS = 64 * 1024
"""The most characters of a refused call's arguments that are recorded; of longer ones only the size is."""
RETRY_S = 1.0
"""The interval between attempts to write deferred records, in seconds."""
OUR_WORDS = frozenset({"type", "command", "outcome", "tool", "error"})
"""Fields of records with words of our own. They are not masked: a secret may be such a word by chance."""

_log = logging.getLogger(__name__)


class _Queued(Entry):
    """A record that waits to be written to the file."""

    def __init__(self, text: str, *, durable: bool, deferred: bool, of: Entry | None) -> None:
        super().__init__(deferred=deferred)
        self.text = text
        self.durable = durable
        self.of = of


class AuditLog:
    """The audit log of a running server; made by `open_log`."""

    def __init__(self, file: AuditFile, mask: Mask, clock: Clock) -> None:
        self._file = file
        self._mask = mask
        self._clock = clock
        self._queue: deque[_Queued] = deque()
        self._deferred: list[_Queued] = []
        self._held = 0
        self._failing = False
        self._news = anyio.Event()
        self._thread = anyio.CapacityLimiter(1)

    def post(
        self, fields: Mapping[str, Any], *, durable: bool = False, deferred: bool = False, of: Entry | None = None
    ) -> Entry:
        """As `Journal.post`. `fields` are all but `n`, `at`, `of`, `prev` and `hash`."""
        shown = {name: value if name in OUR_WORDS else self._mask(value) for name, value in fields.items()}
        text = encoded({"at": iso(self._clock.now()), **shown})
        entry = _Queued(text, durable=durable, deferred=deferred, of=of)
        waiting = len(self._queue) + len(self._deferred)
        if of is None and (waiting >= MAX_QUEUED or (waiting and self._held + len(entry.text) > MAX_HELD)):
            _drop(entry, f"records that wait to be written: {waiting}")
        elif of is not None and _is_lost(of):
            _drop(entry, of.error)  # its command is not on record, and so was not sent
        else:
            self._queue.append(entry)
            self._held += len(entry.text)
            self._news.set()
        return entry

    def refused(self, tool: str, arguments: Mapping[str, Any], *, by: Caller, error: str, why: str) -> None:
        """As `Journal.refused`. If it cannot be recorded, the log on stderr says so."""
        given = redact(dict(arguments))
        chat_id = given.get("chat_id")
        fields: dict[str, Any] = {"type": "refused", "tool": tool, "by": described(by), "error": error, "why": why}
        if isinstance(chat_id, str):
            fields["chat_id"] = chat_id[:128]
        size = len(encoded({"given": given}))
        fields["arguments"] = given if size <= MAX_ARGUMENTS else f"[{size} characters]"
        self.post(fields)

    async def run(self) -> None:
        """Writes what is posted, and retries what is deferred, until it is cancelled."""
        while True:
            while self._queue:
                await self._write_all()
            self._news = anyio.Event()
            with timeout(self._clock, RETRY_S if self._deferred else math.inf):
                await self._news.wait()
                continue
            await self._write_all()

    async def _write_all(self) -> None:
        batch = self._take()
        with anyio.CancelScope(shield=True):  # a cancelled batch would be lost before the thread begins
            await to_thread.run_sync(self._write, batch, limiter=self._thread)
        self._done(batch)

    def close(self) -> None:
        """Writes what is left, and a record that the server has ended."""
        self.post({"type": "closed"}, durable=True)
        batch = self._take()
        self._write(batch)
        self._done(batch)
        if self._deferred:
            _log.error("audit records are lost", extra=logs.fields(records=len(self._deferred)))
        self._file.close()

    def _take(self) -> list[_Queued]:
        batch = [*self._deferred, *self._queue]
        self._queue.clear()
        return batch

    def _write(self, batch: list[_Queued]) -> None:
        """Runs in a thread. After the first record that cannot be written it tries no other, to keep their order."""
        trouble: str | None = None
        for entry in batch:
            if trouble is None:
                try:
                    self._append(entry)
                except Exception as error:  # whatever failed, an unrecorded command must not be sent
                    trouble = reason(error)
            if entry.number is None:
                entry.error = trouble
        if any(entry.durable and entry.number is not None for entry in batch):
            try:
                self._file.sync()
            except OSError as error:
                trouble = reason(error)
                for entry in batch:
                    entry.error = trouble if entry.durable else entry.error
        self._log_trouble(trouble)

    def _append(self, entry: _Queued) -> None:
        if entry.of is None:
            entry.number = self._file.append(entry.text)
        elif entry.of.number is not None:
            entry.number = self._file.append(entry.text, of=entry.of.number)
        else:
            entry.deferred = False  # its command is not on record, and so was not sent

    def _done(self, batch: list[_Queued]) -> None:
        self._deferred = [entry for entry in batch if entry.deferred and entry.number is None]
        self._held = sum(len(entry.text) for entry in (*self._deferred, *self._queue))
        for entry in batch:
            entry.done.set()

    def _log_trouble(self, trouble: str | None) -> None:
        if trouble is not None and not self._failing:
            _log.error("audit log cannot be written, commands are refused", extra=logs.fields(reason=trouble))
        elif trouble is None and self._failing:
            _log.info("audit log can be written again")
        self._failing = trouble is not None


def _is_lost(entry: Entry) -> bool:
    """Whether the record is not in the file and never will be."""
    return entry.done.is_set() and entry.number is None and not entry.deferred


def _drop(entry: Entry, why: str | None) -> None:
    entry.error, entry.deferred = why, False
    entry.done.set()


@asynccontextmanager
async def open_log(path: Path, mask: Mask, clock: Clock, **facts: Any) -> AsyncIterator[AuditLog]:
    """An audit log, open until the block is left.

    Args:
        clock: Gives each record its time.
        facts: Further fields of the record `opened`.

    Raises:
        InvalidSetting: The file cannot be used; nothing was started.
    """
    file = AuditFile.open(path, clock.now)
    log = AuditLog(file, mask, clock)
    try:
        file.append(encoded({"at": iso(clock.now()), "type": "opened", **mask.fields(facts)}))
        file.sync()
    except OSError as error:
        file.close()
        raise InvalidSetting(f"EVI_MCP_AUDIT_LOG: it cannot be written: {reason(error)}.") from None
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(log.run)
            try:
                yield log
            finally:
                group.cancel_scope.cancel()
    finally:
        log.close()
