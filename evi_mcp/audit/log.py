"""What the rest of the server records through: a command before it is sent, and afterwards what became of it.

A command is recorded, and on the disk (`fsync`), before the first byte of it is written to a socket; else it is refused
(`Unrecorded`) and nothing is sent. The disk is waited for once for all commands that come together: with one that takes
0.15 ms, a command by itself was measured to take 0.7 ms longer, and each of 500 at once 0.15 ms. It is not waited for
with outcomes: what a killed process has written the operating system has, and only a power failure can take it.

Records are written in the order in which they were posted, by one thread at a time, so that a slow disk holds up who
waits for a record and nothing else. What has happened and cannot be recorded now is owed: it is kept, and written
before anything else once that works again. So is a command that was announced by one on record (a pause says when it
ends): a caller is not left with a mute assistant because a disk is full.
"""

import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
from anyio import to_thread

from evi_mcp import logs
from evi_mcp.audit.file import AuditFile, reason
from evi_mcp.audit.records import encoded
from evi_mcp.errors import EviMcpError, InvalidSetting, MaybeSent, NotSent, Unrecorded, UserSpoke
from evi_mcp.protocol.commands import Command
from evi_mcp.protocol.redaction import Mask, redact
from evi_mcp.times import iso

PATIENCE_S = 5.0
"""How long a command waits for its record."""
FORETOLD_PATIENCE_S = 0.25
"""How long one waits that is sent in any case."""
MAX_QUEUED = 10_000
"""Records that wait to be written, and those owed; beyond, commands are refused and refusals not recorded."""
MAX_HELD = 64 * 2**20
"""Their characters; a command of the largest size has 48 Mi at most."""
MAX_ARGUMENTS = 64 * 1024
"""Characters of arguments recorded of a call that was refused."""

OUR_WORDS = frozenset({"type", "command", "outcome", "tool", "error"})
"""Fields of records whose values are words of ours, which a secret may be by chance; they are not masked."""

GAVE_UP = "its client gave up, or the server was stopped"

_log = logging.getLogger(__name__)


class Entry:
    """A record on its way to the file."""

    def __init__(self, text: str, *, durable: bool, owed: bool, of: "Entry | None" = None) -> None:
        self.text = text
        self.durable = durable
        self.owed = owed
        self.of = of
        self.number: int | None = None
        """Its number, once it is in the file."""
        self.error: str | None = None
        """Why it is not, or why it may not be on the disk."""
        self.done = anyio.Event()
        """Set once it was tried, be it still owed or not."""


class AuditLog:
    """The audit log of a running server; made by `open_log`."""

    def __init__(self, file: AuditFile, mask: Mask) -> None:
        self._file = file
        self._mask = mask
        self._queue: deque[Entry] = deque()
        self._owed: list[Entry] = []
        self._held = 0
        self._failing = False
        self._news = anyio.Event()
        self._thread = anyio.CapacityLimiter(1)

    def post(
        self, fields: Mapping[str, Any], *, durable: bool = False, owed: bool = False, of: Entry | None = None
    ) -> Entry:
        """Takes in a record, to be written after all that were taken in before. Plain code: it does not wait.

        Args:
            fields: Of the record, besides `n`, `at`, `of`, `prev` and `hash`. Secrets are masked here.
            durable: Whether it is to be on the disk before it counts as done.
            owed: Whether it is kept until it can be written.
            of: The record of the command that it is about.
        """
        shown = {name: value if name in OUR_WORDS else self._mask(value) for name, value in fields.items()}
        entry = Entry(encoded({"at": iso(time.time()), **shown}), durable=durable, owed=owed, of=of)
        waiting = len(self._queue) + len(self._owed)
        if of is None and (waiting >= MAX_QUEUED or (waiting and self._held + len(entry.text) > MAX_HELD)):
            entry.error = f"records that wait to be written: {waiting}"
            entry.owed = False
            entry.done.set()
        else:
            self._queue.append(entry)
            self._held += len(entry.text)
            self._news.set()
        return entry

    def refused(self, tool: str, arguments: Mapping[str, Any], *, by: str, error: str, why: str) -> None:
        """Records a call of a tool that was refused before it became a command. If it cannot be, the log says so."""
        given = redact(dict(arguments))
        chat_id = given.get("chat_id")
        fields: dict[str, Any] = {"type": "refused", "tool": tool, "by": by, "error": error, "why": why}
        if isinstance(chat_id, str):
            fields["chat_id"] = chat_id[:128]
        size = len(encoded({"given": given}))
        fields["arguments"] = given if size <= MAX_ARGUMENTS else f"[{size} characters]"
        self.post(fields)

    async def run(self) -> None:
        """Writes what is posted, until it is cancelled."""
        while True:
            while self._queue:
                batch = self._take()
                with anyio.CancelScope(shield=True):  # else it might be dropped before the thread has begun
                    await to_thread.run_sync(self._write, batch, limiter=self._thread)
                self._done(batch)
            self._news = anyio.Event()
            await self._news.wait()

    def close(self) -> None:
        """Writes what is left, and that the server has ended."""
        self.post({"type": "closed"}, durable=True)
        batch = self._take()
        self._write(batch)
        self._done(batch)
        if self._owed:
            _log.error("audit records are lost", extra=logs.fields(records=len(self._owed)))
        self._file.close()

    def _take(self) -> list[Entry]:
        batch = [*self._owed, *self._queue]
        self._owed.clear()
        self._queue.clear()
        return batch

    def _write(self, batch: list[Entry]) -> None:
        """In a thread. After the first that cannot be written none is tried, so that their order stays."""
        trouble: str | None = None
        for entry in batch:
            if trouble is None:
                try:
                    self._append(entry)
                except Exception as error:  # whatever it is, what is not on record must not be sent
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
        self._tell(trouble)

    def _append(self, entry: Entry) -> None:
        if entry.of is None:
            entry.number = self._file.append(entry.text)
        elif entry.of.number is not None:
            entry.number = self._file.append(entry.text, of=entry.of.number)
        else:
            entry.owed = False  # of a command that is not on record, and so was not sent

    def _done(self, batch: list[Entry]) -> None:
        self._owed = [entry for entry in batch if entry.owed and entry.number is None]
        self._held = sum(len(entry.text) for entry in (*self._owed, *self._queue))
        for entry in batch:
            entry.done.set()

    def _tell(self, trouble: str | None) -> None:
        if trouble is not None and not self._failing:
            _log.error("audit log cannot be written, commands are refused", extra=logs.fields(reason=trouble))
        elif trouble is None and self._failing:
            _log.info("audit log can be written again")
        self._failing = trouble is not None


@asynccontextmanager
async def open_log(path: Path, mask: Mask, **facts: Any) -> AsyncIterator[AuditLog]:
    """An audit log, held until the block is left.

    Args:
        facts: What the record of this start says of the server.

    Raises:
        InvalidSetting: The file cannot be used; nothing was started.
    """
    file = AuditFile.open(path)
    log = AuditLog(file, mask)
    try:
        file.append(encoded({"at": iso(time.time()), "type": "opened", **mask.fields(facts)}))
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


class Recording:
    """A command on record, around all that is done to send it.

    Entered, it returns when the command is recorded. An error that leaves the block is its outcome; any other is told
    with `outcome`. Left, it waits until the file has that, for what an agent is told is to be on record.

    Args:
        log: `None` records nothing.
        by: Who sends it.
        terms: Its conditions, which are no part of it.
        foretold: Announced by a command on record: it is sent, and its record owed, if it cannot be recorded now.

    Raises:
        Unrecorded: On entering. It is not to be sent.
    """

    def __init__(
        self,
        log: AuditLog | None,
        command: Command,
        *,
        chat_id: str,
        by: str,
        terms: Mapping[str, Any] | None = None,
        foretold: bool = False,
    ) -> None:
        self._log = log
        self._command = command
        self._head = {"type": "command", "command": command.type, "chat_id": chat_id, "by": by}
        self._terms = dict(terms or {})
        self._foretold = foretold
        self._seq: int | None = None
        self._told: Entry | None = None

    async def __aenter__(self) -> Self:
        if self._log is None:
            return self
        given = {"fields": self._command.disclosed, "terms": self._terms}
        fields = self._head | {name: value for name, value in given.items() if value}
        self._intent = intent = self._log.post(fields, durable=not self._foretold, owed=self._foretold)
        try:
            with anyio.move_on_after(FORETOLD_PATIENCE_S if self._foretold else PATIENCE_S):
                await intent.done.wait()
        except BaseException:
            self.outcome("not_sent", why=GAVE_UP)
            raise
        why = intent.error if intent.done.is_set() else f"the disk took more than {PATIENCE_S:g} s"
        if why is not None and not (self._foretold and (intent.owed or intent.number)):
            self.outcome("not_sent", why=f"it could not be recorded in time: {why}")
            raise Unrecorded(self._command.type, why)
        return self

    def begins(self, seq: int) -> None:
        """The next thing that happens is the write; `seq` is the number of the `command` event."""
        self._seq = seq

    def outcome(self, outcome: str, **facts: Any) -> None:
        """Records what became of it; a later one adds to it. `facts` are fields of the record, `None` for none."""
        if self._log is None:
            return
        facts = {"type": "outcome", "outcome": outcome, "seq": self._seq, **facts}
        given = {name: value for name, value in facts.items() if value is not None}
        self._told = self._log.post(given, owed=True, of=self._intent)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._log is None:
            return
        ours = isinstance(error, EviMcpError)
        if isinstance(error, EviMcpError):
            error.audited = True
        if error is not None and self._told is None:
            self.outcome(**self._outcome_of(error))
        if self._told is not None and (error is None or ours):
            with anyio.move_on_after(PATIENCE_S):
                await self._told.done.wait()

    def _outcome_of(self, error: BaseException) -> dict[str, Any]:
        match error:
            case MaybeSent():
                return {"outcome": "maybe_sent"}
            case NotSent():
                return {"outcome": "not_sent", "why": error.why}
            case UserSpoke():  # what was said is not the log's business
                return {"outcome": "refused", "error": "UserSpoke", "why": "the user had spoken since"}
            case EviMcpError():
                return {"outcome": "refused", "error": type(error).__name__, "why": str(error)}
        why = f"a fault of this server: {type(error).__name__}" if isinstance(error, Exception) else GAVE_UP
        return {"outcome": "not_sent" if self._seq is None else "maybe_sent", "why": why}
