"""The ledger: where events get their numbers and are kept, who owns a chat, and the way of a command.

This is the seam for a store that survives a restart or is shared by several replicas; `ledger.memory` is the one that
ships. Everything above it holds to four rules:

* An event has no number before the ledger gives it one, and numbers have holes. Drafts go in, numbered events come
  back through `follow`, perhaps later, and are folded by everybody who follows the chat.
* An event and its identity are kept in one step: what is logged is known as seen, what is not is taken in again.
* Only the owner of a chat appends to it and writes its commands.
* A command is written only by whoever claimed it, and it can be claimed once.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

from evi_mcp.chat.events import Draft, Event
from evi_mcp.ledger.cursors import Cursors
from evi_mcp.protocol.entries import Entry


class CommandState(StrEnum):
    """Where a command stands. From `CLAIMED` on it may have been written."""

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
    """Whether drafts are to come with the identities of their events."""

    @property
    def cursors(self) -> Cursors:
        """The epoch of the numbers, and the newest of them."""
        ...

    def reserve(self) -> int:
        """Uses up a number, so that a cursor can tell what was said from what was not. No event will have it."""
        ...

    def follow(self, chat_id: str, fold: Fold) -> None:
        """From now on the chat's numbered events go to `fold`, which replaces an earlier one."""
        ...

    def leave(self, chat_id: str, fold: Fold) -> None:
        """Undoes `follow`; nothing if another `fold` has replaced this one."""
        ...

    async def acquire(self, chat_id: str) -> bool:
        """Becomes the owner of the chat, if nobody is; whether this process is the owner now."""
        ...

    async def release(self, chat_id: str) -> None:
        """Is the owner no more; nothing if it was not."""
        ...

    async def identities(self, chat_id: str) -> Sequence[Entry]:
        """What was kept of the chat's identities, in the order of the log: what `History.restore` takes."""
        ...

    def append(self, chat_id: str, drafts: Sequence[Draft]) -> None:
        """Numbers and keeps events, which then come back through `follow`. Only for the owner of the chat.

        In memory they have come back when this returns. A store that has to be reached takes them into a bounded queue.
        """
        ...

    async def submit(self, chat_id: str, command_id: str) -> CommandState:
        """Makes a command known; where it stands, if it is known already. Ids are the submitter's, and unique."""
        ...

    async def claim(self, chat_id: str, command_id: str, draft: Draft) -> Event | None:
        """Takes a queued command to write it: its event is numbered, kept and folded; `None` if it was not to be had.

        In memory nothing else runs between the call and its return.
        """
        ...

    def outcome(self, chat_id: str, command_id: str, state: CommandState) -> None:
        """Notes what became of a claimed command."""
        ...

    async def cancel(self, chat_id: str, command_id: str) -> CommandState:
        """Takes a command back if nobody has claimed it; where it stands now."""
        ...
