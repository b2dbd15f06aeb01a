"""Counts what is kept of chats, in bytes, against one budget for each chat and one for all of them.

Everything that is kept of a chat (its log, turns, tool calls and audio) counts against the chat's budget and that of
the process. A chat over its budget drops what is oldest and matters least; if the process is over its own, the largest
chats do. A reader who has not read the dropped events is told (`gap`).
"""

import sys
from collections.abc import Callable

CHAT_BYTES = 64 * 2**20
"""The most that is kept of one chat, in bytes."""
PROCESS_BYTES = 1024 * 2**20
"""The most that is kept of all chats, in bytes, unless a setting says otherwise."""


def size_of(text: str) -> int:
    """The bytes that a text takes: in UTF-8, or in memory if that is more, as with a single emoji in a long text."""
    if text.isascii():
        return len(text)
    return max(len(text.encode("utf-8", "surrogatepass")), sys.getsizeof(text))


class Memory:
    """The budget of all chats together.

    Args:
        most: The budget, in bytes.
    """

    def __init__(self, most: int = PROCESS_BYTES) -> None:
        self.most = most
        self.kept = 0
        self._shares: dict[Share, None] = {}

    def share(self, shed: Callable[[], bool], most: int = CHAT_BYTES) -> "Share":
        """The budget of one more chat.

        Args:
            shed: Drops the oldest of what matters least; returns whether it dropped anything.
            most: The budget, in bytes.
        """
        share = Share(self, shed, most)
        self._shares[share] = None
        return share

    def settle(self) -> None:
        """Makes room if too much is kept: the largest chats drop something, so that small ones lose nothing."""
        while self.kept > self.most:
            largest = max(self._shares, key=lambda share: share.kept, default=None)
            if largest is None or not largest.shrink_to(largest.kept - largest.kept // 8 - 1):
                return

    def leave(self, share: "Share") -> None:
        """Removes the budget of a chat of which nothing is kept any more."""
        self._shares.pop(share, None)


class Share:
    """The budget of one chat; made by `Memory.share`."""

    def __init__(self, memory: Memory, shed: Callable[[], bool], most: int) -> None:
        self.most = most
        self.kept = 0
        self._memory = memory
        self._shed = shed

    def add(self, size: int) -> None:
        """Counts this many bytes more; fewer, if negative."""
        self.kept += size
        self._memory.kept += size

    def settle(self) -> None:
        """Makes room if this chat, or all chats together, are over budget."""
        if self.kept > self.most:
            self.shrink_to(self.most)
        if self._memory.kept > self._memory.most:
            self._memory.settle()

    def shrink_to(self, most: int) -> bool:
        """Drops the oldest until at most this many bytes are kept. Returns whether it could."""
        while self.kept > most:
            if not self._shed():
                return False
        return True

    def close(self) -> None:
        """Ends this budget: nothing is kept of the chat any more."""
        self.add(-self.kept)
        self._memory.leave(self)
