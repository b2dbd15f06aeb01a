"""The journal: records each command before it is sent, and afterwards its outcome.

This is the seam: the interface that the rest of the server uses, and a journal that records nothing. The audit log
(`evi_mcp.audit`) is the other implementation.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import anyio

from evi_mcp.access.callers import Caller


class Entry:
    """A record on its way into a journal.

    Args:
        deferred: Whether the journal keeps it in memory until it can be written.
    """

    def __init__(self, *, deferred: bool = False) -> None:
        self.deferred = deferred
        self.number: int | None = None
        """Its number, once it is in the journal; always `None` in a journal that records nothing."""
        self.error: str | None = None
        """Why it is not in the journal, or why it may not be on the disk; `None` if all is well."""
        self.done = anyio.Event()
        """Set after the first attempt to write it; if that failed, it may still be deferred."""


class Journal(Protocol):
    """What records commands. Both methods are plain code: they never wait."""

    def post(
        self, fields: Mapping[str, Any], *, durable: bool = False, deferred: bool = False, of: Entry | None = None
    ) -> Entry:
        """Queues a record, to be written after all earlier ones.

        Args:
            fields: The fields of the record. The journal masks secrets.
            durable: Whether it must be on the disk before it counts as done.
            deferred: Whether the journal keeps it in memory until it can be written.
            of: The record of the command that this record is about; `None` if it is about none.
        """
        ...

    def refused(self, tool: str, arguments: Mapping[str, Any], *, by: Caller, error: str, why: str) -> None:
        """Records a call of one of this server's tools that was refused before it became a command.

        Args:
            arguments: As they were given. The journal masks secrets.
            error: The name of the error's class.
            why: What the caller was told.
        """
        ...


class NullJournal:
    """Records nothing, and delays no command."""

    def post(
        self, fields: Mapping[str, Any], *, durable: bool = False, deferred: bool = False, of: Entry | None = None
    ) -> Entry:
        """Returns an entry that is done."""
        entry = Entry()
        entry.done.set()
        return entry

    def refused(self, tool: str, arguments: Mapping[str, Any], *, by: Caller, error: str, why: str) -> None:
        """Does nothing."""


def described(caller: Caller) -> dict[str, str]:
    """A caller as records name it: the id and the kind that this server gave it, the name that it claims, and what its
    token proves."""
    proven = caller.principal.facts if caller.principal is not None else {}
    return {"id": caller.id, "kind": caller.kind.value, "name": caller.claimed, **proven}
