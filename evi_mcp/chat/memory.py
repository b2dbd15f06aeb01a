"""What is kept of chats, in bytes, against one budget for each chat and one for all of them.

Everything that is kept of a chat (its log, its turns, its tool calls, its audio) counts against the chat's budget and
against that of the process. A chat that is full gives up what is oldest and matters least; if the process is, the chats
that keep most do. Whoever had not read it is told (`gap`).
"""

import sys
from collections.abc import Callable

CHAT_BYTES = 64 * 2**20
"""The most that is kept of one chat."""
PROCESS_BYTES = 1024 * 2**20
"""The most that is kept of all chats, unless a setting says otherwise."""


def size_of(text: str) -> int:
    """Bytes that a text takes: those of its UTF-8, or of memory if it takes more there, as one emoji makes it."""
    if text.isascii():
        return len(text)
    return max(len(text.encode("utf-8", "surrogatepass")), sys.getsizeof(text))


class Memory:
    """What is kept of all chats together.

    Args:
        most: In bytes.
    """

    def __init__(self, most: int = PROCESS_BYTES) -> None:
        self.most = most
        self.kept = 0
        self._shares: dict[Share, None] = {}

    def share(self, shed: Callable[[], bool], most: int = CHAT_BYTES) -> "Share":
        """The budget of one more chat.

        Args:
            shed: Gives up the oldest of what matters least; whether there was anything to give up.
            most: In bytes.
        """
        share = Share(self, shed, most)
        self._shares[share] = None
        return share

    def settle(self) -> None:
        """Makes room if too much is kept: the chats that keep most give up some, so that a small one loses nothing."""
        while self.kept > self.most:
            largest = max(self._shares, key=lambda share: share.kept, default=None)
            if largest is None or not largest.shrink_to(largest.kept - largest.kept // 8 - 1):
                return

    def leave(self, share: "Share") -> None:
        """A chat is gone, with all that was kept of it."""
        self._shares.pop(share, None)


class Share:
    """The budget of one chat; made by `Memory.share`."""

    def __init__(self, memory: Memory, shed: Callable[[], bool], most: int) -> None:
        self.most = most
        self.kept = 0
        self._memory = memory
        self._shed = shed

    def add(self, size: int) -> None:
        """So many bytes more are kept; fewer, if negative."""
        self.kept += size
        self._memory.kept += size

    def settle(self) -> None:
        """Makes room, here and for all, if too much is kept."""
        if self.kept > self.most:
            self.shrink_to(self.most)
        if self._memory.kept > self._memory.most:
            self._memory.settle()

    def shrink_to(self, most: int) -> bool:
        """Gives up what is oldest until no more than this is kept; whether that could be done."""
        while self.kept > most:
            if not self._shed():
                return False
        return True

    def close(self) -> None:
        """Nothing is kept any more."""
        self.add(-self.kept)
        self._memory.leave(self)
