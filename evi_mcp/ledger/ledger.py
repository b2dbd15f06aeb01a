"""The ledger: numbers and keeps events, says who owns a chat, and tracks commands.

This is the seam for a store that survives a restart or is shared by several replicas; `ledger.memory` is the one that
ships. The code above it keeps four rules:

* The ledger alone gives an event its number, and numbers have holes. Drafts go in; numbered events come back through
  `follow`, perhaps later, and everybody who follows the chat folds them.
* The ledger keeps an event and its identity in one step: a logged event counts as seen, any other is taken in again.
* Only the owner of a chat appends to it and writes its commands.
* Only the process that claimed a command writes it, and a command can be claimed once.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

from evi_mcp.chat.events import Draft, Event
from evi_mcp.ledger.cursors import Cursors
from evi_mcp.protocol.entries import Entry


class CommandState(StrEnum):
    """The state of a command. From `CLAIMED` on it may have been written."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    SENT = "sent"
    MAYBE_SENT = "maybe_sent"
    NOT_SENT = "not_sent"


Fold = Callable[[Sequence[Event]], None]
"""Takes in numbered events of a chat, in order; must not raise."""


class Ledger(Protocol):
    """One tenant's events, chats and commands. Methods that are not `async` never wait."""

    keeps_identities: bool
    """Whether drafts must come with the identities of their events."""

    @property
    def cursors(self) -> Cursors:
        """The cursors: they hold the epoch and the newest number."""
        ...

    def reserve(self) -> int:
        """Uses up a number that no event will have, so that a cursor can mark the moment between two events."""
        ...

    def follow(self, chat_id: str, fold: Fold) -> None:
        """Passes the chat's numbered events to `fold` from now on, in place of an earlier `fold`."""
        ...

    def leave(self, chat_id: str, fold: Fold) -> None:
        """Undoes `follow`; does nothing if another `fold` has replaced this one."""
        ...

    async def acquire(self, chat_id: str) -> bool:
        """Becomes the owner of the chat, if it has none. Returns whether this process is the owner now."""
        ...

    async def release(self, chat_id: str) -> None:
        """Gives up the ownership; does nothing if this process was not the owner."""
        ...

    async def identities(self, chat_id: str) -> Sequence[Entry]:
        """The identities that were kept of the chat, in the order of the log, for `History.restore`."""
        ...

    def append(self, chat_id: str, drafts: Sequence[Draft]) -> None:
        """Numbers and keeps events, which then come back through `follow`. Only for the owner of the chat.

        In memory they have come back when this returns. A remote store puts them into a bounded queue.
        """
        ...

    async def submit(self, chat_id: str, command_id: str) -> CommandState:
        """Makes a command known and returns its state, also if it was known. The submitter makes a unique id."""
        ...

    async def claim(self, chat_id: str, command_id: str, draft: Draft) -> Event | None:
        """Claims a queued command in order to write it; its event is numbered, kept and folded. `None` if it is not
        queued any more.

        In memory nothing else runs between the call and its return.
        """
        ...

    def outcome(self, chat_id: str, command_id: str, state: CommandState) -> None:
        """Records the outcome of a claimed command."""
        ...

    async def cancel(self, chat_id: str, command_id: str) -> CommandState:
        """Takes a command back if nobody has claimed it. Returns its state now."""
        ...
