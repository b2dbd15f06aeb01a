"""Records a command in the journal before it is sent, and its outcome afterwards."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from evi_mcp.access.callers import Caller
from evi_mcp.clock import Clock, timeout
from evi_mcp.errors import EviMcpError, MaybeSent, NotSent, Unrecorded, UserSpoke
from evi_mcp.ledger.journal import Entry, Journal, described
from evi_mcp.protocol.commands import Command

PATIENCE_S = 5.0
"""How long a command waits for its record, and its caller for the record of the outcome, in seconds."""
PRE_AUTHORISED_PATIENCE_S = 0.25
"""The same for a command that is sent in any case."""

GAVE_UP = "its client gave up, or the server was stopped"


class Recording:
    """A block around the sending of a command.

    Entering it waits until the command is recorded. An error that leaves the block is the outcome; otherwise call
    `outcome`. Leaving it waits until the outcome is recorded, because what an agent is told must be on record.

    Args:
        by: Who sends the command.
        terms: The conditions of sending it, which are not part of the command.
        pre_authorised: A recorded command has announced this one. So it is sent even if it cannot be recorded now, and
            its record is deferred. A disk that hangs delays it by at most 0.25 s.

    Raises:
        Unrecorded: On entering. The command must not be sent.
    """

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        command: Command,
        *,
        chat_id: str,
        by: Caller,
        terms: Mapping[str, Any] | None = None,
        pre_authorised: bool = False,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._command = command
        self._head = {"type": "command", "command": command.type, "chat_id": chat_id, "by": described(by)}
        self._terms = dict(terms or {})
        self._pre_authorised = pre_authorised
        self._patience_s = PRE_AUTHORISED_PATIENCE_S if pre_authorised else PATIENCE_S
        self._seq: int | None = None
        self._outcome: Entry | None = None

    async def __aenter__(self) -> Self:
        given = {"fields": self._command.disclosed, "terms": self._terms}
        fields = self._head | {name: value for name, value in given.items() if value}
        self._entry = entry = self._journal.post(
            fields, durable=not self._pre_authorised, deferred=self._pre_authorised
        )
        try:
            with timeout(self._clock, self._patience_s):
                await entry.done.wait()
        except BaseException:
            self.outcome("not_sent", why=GAVE_UP)
            raise
        why = entry.error if entry.done.is_set() else f"the disk took more than {self._patience_s:g} s"
        if why is not None and not (self._pre_authorised and self._will_be_recorded):
            self.outcome("not_sent", why=f"it could not be recorded in time: {why}")
            raise Unrecorded(self._command.type, why)
        return self

    @property
    def _will_be_recorded(self) -> bool:
        return self._entry.deferred or self._entry.number is not None

    def begins(self, seq: int) -> None:
        """Call it just before the write; `seq` is the number of the `command` event."""
        self._seq = seq

    def outcome(self, outcome: str, **facts: Any) -> None:
        """Records the outcome; may be called again to add to it. `facts` are fields of the record; `None` leaves one
        out."""
        facts = {"type": "outcome", "outcome": outcome, "seq": self._seq, **facts}
        given = {name: value for name, value in facts.items() if value is not None}
        self._outcome = self._journal.post(given, deferred=True, of=self._entry)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        ours = isinstance(error, EviMcpError)
        if isinstance(error, EviMcpError):
            error.audited = True
        if error is not None and self._outcome is None:
            self.outcome(**self._outcome_of(error))
        if self._outcome is not None and (error is None or ours):
            with timeout(self._clock, self._patience_s):
                await self._outcome.done.wait()

    def _outcome_of(self, error: BaseException) -> dict[str, Any]:
        match error:
            case MaybeSent():
                return {"outcome": "maybe_sent"}
            case NotSent():
                return {"outcome": "not_sent", "why": error.why}
            case UserSpoke():  # the journal does not record what was said
                return {"outcome": "refused", "error": "UserSpoke", "why": "the user had spoken since"}
            case EviMcpError():
                return {"outcome": "refused", "error": type(error).__name__, "why": str(error)}
        why = f"a fault of this server: {type(error).__name__}" if isinstance(error, Exception) else GAVE_UP
        return {"outcome": "not_sent" if self._seq is None else "maybe_sent", "why": why}
