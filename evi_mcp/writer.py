"""Writes bytes to a file descriptor that perhaps nobody reads; posting them never blocks.

A pipe that nobody reads takes 64 KiB and then blocks its writer for good; so does a stopped terminal. Making a shared
descriptor non-blocking would change it for other processes too. So a thread of its own writes. It is a daemon: the
process may end while it is stuck.
"""

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

MOST = 2**20
"""The most bytes that wait to be written; a post beyond that is dropped and counted."""
STUCK_S = 0.1
"""`flush` gives up when the reader has taken nothing for this many seconds."""
_AT_ONCE = 4 * 1024


class Writer:
    """Writes to one file descriptor, in the order of posting.

    Args:
        descriptor: The writer never closes it.
        dropped: Makes the text that says how many posts were dropped; it is written in their place.
        most: Bytes that may wait.
    """

    def __init__(self, descriptor: int, dropped: Callable[[int], bytes], most: int = MOST) -> None:
        self._descriptor = descriptor
        self._say_dropped = dropped
        self._most = most
        self._posts: deque[bytes] = deque()
        self._waiting = 0
        self._dropped = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self.error: OSError | None = None
        """Why the last write failed; `None` if it did not."""

    def post(self, data: bytes) -> None:
        """Queues the bytes to be written, or drops them all if too many wait."""
        with self._changed:
            if self._waiting + len(data) > self._most:
                self._dropped += 1
                return
            self._account_for_dropped()
            self._append(data)

    def flush(self, seconds: float) -> bool:
        """Waits until everything is written, at most this long, and at most `STUCK_S` without progress. Returns whether
        it is."""
        with self._changed:
            self._account_for_dropped()
            ends = time.monotonic() + seconds
            while self._waiting and (left := ends - time.monotonic()) > 0:
                before = self._waiting
                self._changed.wait(min(left, STUCK_S))
                if self._waiting == before:
                    break
            return not self._waiting

    def _account_for_dropped(self) -> None:
        if self._dropped:
            count, self._dropped = self._dropped, 0
            self._append(self._say_dropped(count))

    def _append(self, data: bytes) -> None:
        self._posts.append(data)
        self._waiting += len(data)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"writer of {self._descriptor}", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._posts)
                batch = [self._posts.popleft()]
                size = len(batch[0])
                while self._posts and size + len(self._posts[0]) <= _AT_ONCE:
                    size += len(self._posts[0])
                    batch.append(self._posts.popleft())
            try:
                write_all(self._descriptor, b"".join(batch))
                self.error = None
            except OSError as error:
                self.error = error
            with self._changed:
                self._waiting -= size
                if self.error is not None:
                    self._dropped += len(batch)
                self._changed.notify_all()


def write_all(descriptor: int, data: bytes) -> None:
    """Writes everything, however long that takes, even if another process has made the descriptor non-blocking.

    Raises:
        OSError: The descriptor takes no more.
    """
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def discard(descriptor: int) -> None:
    """Discards what is written to the descriptor from now on. Otherwise Python would flush the rest of a buffer at the
    end of the process, and fail with a traceback."""
    with suppress(OSError), open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), descriptor)
