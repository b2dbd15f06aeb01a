"""The journal: where a command is put on record before it is sent, and afterwards what became of it.

This is the seam: what the rest of the server needs of a journal, and the one that records nothing. The journal that
ships is the audit log (`evi_mcp.audit`).
"""

from collections.abc import Mapping
from typing import Any, Protocol

import anyio

from evi_mcp.access.callers import Caller


class Entry:
    """A record on its way into a journal.

    Args:
        deferred: Whether it is kept until it can be written.
    """

    def __init__(self, *, deferred: bool = False) -> None:
        self.deferred = deferred
        self.number: int | None = None
        """Its number, once it is in the journal; `None` for ever in one that records nothing."""
        self.error: str | None = None
        """Why it is not in the journal, or why the disk may not have it; `None` if all is well."""
        self.done = anyio.Event()
        """Set once writing it was tried; if that failed it may still be deferred."""


class Journal(Protocol):
    """What records commands. Both methods are plain code: they never wait."""

    def post(
        self, fields: Mapping[str, Any], *, durable: bool = False, deferred: bool = False, of: Entry | None = None
    ) -> Entry:
        """Takes in a record, to be written after all that were taken in before.

        Args:
            fields: Of the record. Secrets are masked by the journal.
            durable: Whether the disk has to have it before it counts as done.
            deferred: Whether it is kept until it can be written.
            of: The record of the command that it is about.
        """
        ...

    def refused(self, tool: str, arguments: Mapping[str, Any], *, by: Caller, error: str, why: str) -> None:
        """Records a call of a tool that was refused before it became a command.

        Args:
            arguments: As they were given. Secrets are masked by the journal.
            error: The name of the error's class.
            why: What the caller was told.
        """
        ...


class NullJournal:
    """Records nothing, and keeps no command back."""

    def post(
        self, fields: Mapping[str, Any], *, durable: bool = False, deferred: bool = False, of: Entry | None = None
    ) -> Entry:
        """An entry that is done."""
        entry = Entry()
        entry.done.set()
        return entry

    def refused(self, tool: str, arguments: Mapping[str, Any], *, by: Caller, error: str, why: str) -> None:
        """Does nothing."""


def described(caller: Caller) -> dict[str, str]:
    """A caller as records name it: by the id and the kind that this server gave, by the name that it claims, and by
    what its token proves."""
    proven = caller.principal.facts if caller.principal is not None else {}
    return {"id": caller.id, "kind": caller.kind.value, "name": caller.claimed, **proven}
