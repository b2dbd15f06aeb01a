"""A command on record, around all that is done to send it."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from evi_mcp.access.callers import Caller
from evi_mcp.clock import Clock, timeout
from evi_mcp.errors import EviMcpError, MaybeSent, NotSent, Unrecorded, UserSpoke
from evi_mcp.ledger.journal import Entry, Journal, described
from evi_mcp.protocol.commands import Command

PATIENCE_S = 5.0
"""How long a command waits for its record, and its caller for that of the outcome."""
PRE_AUTHORISED_PATIENCE_S = 0.25
"""The same for a command that is sent in any case."""

GAVE_UP = "its client gave up, or the server was stopped"


class Recording:
    """Entered, it returns when the command is recorded. An error that leaves the block is its outcome; any other is
    told with `outcome`. Left, it waits until the journal has that, for what an agent is told is to be on record.

    Args:
        by: Who sends it.
        terms: Its conditions, which are no part of it.
        pre_authorised: Announced by a command on record: it is sent, and its record deferred, if it cannot be recorded
            now. A disk that hangs holds it up for 0.25 s at most.

    Raises:
        Unrecorded: On entering. It is not to be sent.
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
        self._told: Entry | None = None

    async def __aenter__(self) -> Self:
        given = {"fields": self._command.disclosed, "terms": self._terms}
        fields = self._head | {name: value for name, value in given.items() if value}
        self._intent = intent = self._journal.post(
            fields, durable=not self._pre_authorised, deferred=self._pre_authorised
        )
        try:
            with timeout(self._clock, self._patience_s):
                await intent.done.wait()
        except BaseException:
            self.outcome("not_sent", why=GAVE_UP)
            raise
        why = intent.error if intent.done.is_set() else f"the disk took more than {self._patience_s:g} s"
        if why is not None and not (self._pre_authorised and self._will_be_recorded):
            self.outcome("not_sent", why=f"it could not be recorded in time: {why}")
            raise Unrecorded(self._command.type, why)
        return self

    @property
    def _will_be_recorded(self) -> bool:
        return self._intent.deferred or self._intent.number is not None

    def begins(self, seq: int) -> None:
        """The next thing that happens is the write; `seq` is the number of the `command` event."""
        self._seq = seq

    def outcome(self, outcome: str, **facts: Any) -> None:
        """Records what became of it; a later one adds to it. `facts` are fields of the record, `None` for none."""
        facts = {"type": "outcome", "outcome": outcome, "seq": self._seq, **facts}
        given = {name: value for name, value in facts.items() if value is not None}
        self._told = self._journal.post(given, deferred=True, of=self._intent)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        ours = isinstance(error, EviMcpError)
        if isinstance(error, EviMcpError):
            error.audited = True
        if error is not None and self._told is None:
            self.outcome(**self._outcome_of(error))
        if self._told is not None and (error is None or ours):
            with timeout(self._clock, self._patience_s):
                await self._told.done.wait()

    def _outcome_of(self, error: BaseException) -> dict[str, Any]:
        match error:
            case MaybeSent():
                return {"outcome": "maybe_sent"}
            case NotSent():
                return {"outcome": "not_sent", "why": error.why}
            case UserSpoke():  # what was said is not the journal's business
                return {"outcome": "refused", "error": "UserSpoke", "why": "the user had spoken since"}
            case EviMcpError():
                return {"outcome": "refused", "error": type(error).__name__, "why": str(error)}
        why = f"a fault of this server: {type(error).__name__}" if isinstance(error, Exception) else GAVE_UP
        return {"outcome": "not_sent" if self._seq is None else "maybe_sent", "why": why}
