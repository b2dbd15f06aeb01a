"""Cursors: strings that say up to which event a reader has read (docs/contract.md, section 4a).

A wide cursor, `<epoch>-<seq>`, is a place in all chats; a narrow one, `<epoch>-<seq>@<start of a chat id>`, is a place
in one chat. A narrow cursor that is used for more chats holds for its own; every other chat is read from its attach.
"""

import re
from typing import NamedTuple

from evi_mcp.errors import InvalidCursor

EARLIEST, LATEST = "earliest", "latest"
SHORT_ID = 8
"""Characters of a chat's id in a narrow cursor."""

_CURSOR = re.compile(r"([0-9a-z]{1,16})-(\d{1,18})(?:@([A-Za-z0-9_.\-]{1,8}))?", re.ASCII)


class Position(NamedTuple):
    """Where a reader goes on: after the event `seq`.

    `foreign`: the cursor comes from another epoch. `chat`: the start of the id of the only chat for which the place
    holds; `None` for all chats.
    """

    seq: int
    foreign: bool = False
    chat: str | None = None

    def in_chat(self, chat_id: str) -> int:
        """The number after which this reader goes on in this chat; 0, its attach, if the place is in another chat."""
        return self.seq if self.chat is None or chat_id[:SHORT_ID] == self.chat else 0


class Cursors:
    """Writes and reads the cursors of one epoch. `last_seq` is the newest number that was given to an event or
    reserved."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.last_seq = 0

    def at(self, seq: int, chat_id: str | None = None) -> str:
        """The cursor of a reader who has seen everything up to and including `seq`, in this chat or (`None`) in all."""
        return f"{self.epoch}-{seq}" + ("" if chat_id is None else f"@{chat_id[:SHORT_ID]}")

    def read(self, cursor: str) -> Position:
        """The position that a cursor, `earliest` or `latest` names now.

        Raises:
            InvalidCursor: It is none of these, or a cursor that was never given out.
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
            raise InvalidCursor(cursor)  # it was never given out, and a condition on it would always hold
        return Position(int(seq), chat=chat)
