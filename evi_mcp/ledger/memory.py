"""The ledger of one process: what it keeps ends with the process."""

import secrets
from collections.abc import Sequence

import msgspec

from evi_mcp.chat.events import Draft, Event
from evi_mcp.ledger.cursors import Cursors
from evi_mcp.ledger.ledger import CommandState, Fold
from evi_mcp.protocol.entries import Entry

MAX_COMMANDS = 10_000
"""How many commands' states are remembered; the oldest is dropped first, long after it was settled."""


class MemoryLedger:
    """Numbers events and hands them back at once. The `fold` functions keep the events.

    Args:
        epoch: Names this run of the process in cursors; `None` picks one at random.
    """

    keeps_identities = False

    def __init__(self, epoch: str | None = None) -> None:
        self.cursors = Cursors(epoch or secrets.token_hex(4))
        self._folds: dict[str, Fold] = {}
        self._commands: dict[str, CommandState] = {}

    def reserve(self) -> int:
        self.cursors.last_seq += 1
        return self.cursors.last_seq

    def follow(self, chat_id: str, fold: Fold) -> None:
        self._folds[chat_id] = fold

    def leave(self, chat_id: str, fold: Fold) -> None:
        if self._folds.get(chat_id) == fold:
            del self._folds[chat_id]

    async def acquire(self, chat_id: str) -> bool:
        return True

    async def release(self, chat_id: str) -> None:
        return None

    async def identities(self, chat_id: str) -> Sequence[Entry]:
        return ()  # a restart forgets the events too, and so takes them in again

    def append(self, chat_id: str, drafts: Sequence[Draft]) -> None:
        fold = self._folds.get(chat_id)
        if fold is not None:
            fold([self._numbered(draft) for draft in drafts])

    async def submit(self, chat_id: str, command_id: str) -> CommandState:
        state = self._commands.setdefault(command_id, CommandState.QUEUED)
        if len(self._commands) > MAX_COMMANDS:
            del self._commands[next(iter(self._commands))]
        return state

    async def claim(self, chat_id: str, command_id: str, draft: Draft) -> Event | None:
        fold = self._folds.get(chat_id)
        if fold is None or self._commands.get(command_id) is not CommandState.QUEUED:
            return None
        self._commands[command_id] = CommandState.CLAIMED
        event = self._numbered(draft)
        fold([event])
        return event

    def outcome(self, chat_id: str, command_id: str, state: CommandState) -> None:
        if self._commands.get(command_id) is CommandState.CLAIMED:
            self._commands[command_id] = state

    async def cancel(self, chat_id: str, command_id: str) -> CommandState:
        if self._commands.get(command_id, CommandState.QUEUED) is CommandState.QUEUED:
            self._commands[command_id] = CommandState.NOT_SENT
        return self._commands[command_id]

    def _numbered(self, draft: Draft) -> Event:
        return msgspec.structs.replace(draft.event, seq=self.reserve())
