"""Cursors: the places that readers hold, as agents pass them around (docs/contract.md, section 4a).

A wide one, `<epoch>-<seq>`, is a place in all chats; a narrow one, `<epoch>-<seq>@<start of a chat id>`, is a place in
one chat. Where a narrow one is used for more chats it holds for its own, and every other chat is read from its attach.
"""

import re
from typing import NamedTuple

from evi_mcp.errors import InvalidCursor

EARLIEST, LATEST = "earliest", "latest"
SHORT_ID = 8
"""Characters of a chat's id in a narrow cursor."""

_CURSOR = re.compile(r"([0-9a-z]{1,16})-(\d{1,18})(?:@([A-Za-z0-9_.\-]{1,8}))?", re.ASCII)


class Position(NamedTuple):
    """Where a reader stands: after the event `seq`.

    `foreign`: the cursor is one of another epoch. `chat`: the start of the id of the only chat in which it is a place;
    `None` for a place in all.
    """

    seq: int
    foreign: bool = False
    chat: str | None = None

    def in_chat(self, chat_id: str) -> int:
        """After which event this reader goes on in this chat: from its attach on, if the place says nothing of it."""
        return self.seq if self.chat is None or chat_id[:SHORT_ID] == self.chat else 0


class Cursors:
    """Writes and reads cursors of one epoch. `last_seq` is the newest number that any event has, or that was used
    up."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.last_seq = 0

    def at(self, seq: int, chat_id: str | None = None) -> str:
        """The cursor of a reader who has seen everything up to and including `seq`, in this chat or (`None`) in all."""
        return f"{self.epoch}-{seq}" + ("" if chat_id is None else f"@{chat_id[:SHORT_ID]}")

    def read(self, cursor: str) -> Position:
        """The position that a cursor, `earliest` or `latest` names now.

        Raises:
            InvalidCursor: It is none of them, or one that was never given out.
        """
        if cursor == EARLIEST:
            return Position(0)
        if cursor == LATEST:
            return Position(self.last_seq)
        match = _CURSOR.fullmatch(cursor)
        if match is None:
            raise InvalidCursor(cursor)
        epoch, seq, chat = match.groups()
        if epoch != self.epoch:
            return Position(0, foreign=True, chat=chat)
        if int(seq) > self.last_seq:
            raise InvalidCursor(cursor)  # nobody was given it, and a condition on it would always hold
        return Position(int(seq), chat=chat)
