"""One consumer of a chat: what it still has to be sent, and how it ends. No sockets, no clock, no awaiting.

The frames are shared with the history and with every other consumer, so one that reads costs nothing. One that does
not read is closed as soon as more than a whole history has been added to what waits for it.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable

from evi_mcp.hub.closes import POLICY_VIOLATION, TRY_AGAIN_LATER, Close
from evi_mcp.hub.json_frames import write

MAX_WAITING = 10_000
MAX_WAITING_BYTES = 32 * 2**20
"""Frames, and bytes of them, that may wait for a consumer beside the history that it was given at first."""

MAX_FAULTS = 10
"""Ten identical errors close a connection (Hume's page on errors)."""

_MOST_TAKEN = 64
_MOST_TAKEN_BYTES = 256 * 2**10


class Consumer:
    """A consumer's place in a chat.

    Args:
        greeting: Its own `chat_metadata`.
        replay: The history; nothing on the wire marks where it ends.
    """

    can_wait = False
    """Whatever there is to send is sent at once."""

    def __init__(self, greeting: bytes, replay: Iterable[bytes] = ()) -> None:
        self._waiting: deque[bytes] = deque([greeting, *replay])
        self._bytes = sum(map(len, self._waiting))
        self._max_waiting = len(self._waiting) + MAX_WAITING
        self._max_bytes = self._bytes + MAX_WAITING_BYTES
        self._faults: Counter[str] = Counter()
        self._last_close: Close | None = None
        self.close: Close | None = None
        """Set as soon as the connection is to be closed. What waits is not sent any more."""
        self.on_news: Callable[[], None] | None = None
        """Called when there is something to send, or the connection is to be closed; its owner may set it."""

    def push(self, frame: bytes) -> None:
        """Adds a frame; a consumer that has not read for too long is closed instead."""
        if self.close is not None or self._last_close is not None:
            return
        self._waiting.append(frame)
        self._bytes += len(frame)
        if len(self._waiting) > self._max_waiting or self._bytes > self._max_bytes:
            self.cut(Close(TRY_AGAIN_LATER, "too many frames were not read; connect again for the history"))
        else:
            self._tell()

    def take(self) -> list[str]:
        """The next frames to send, about a quarter of a megabyte; none if there is nothing to send now."""
        frames: list[str] = []
        size = 0
        while self._waiting and len(frames) < _MOST_TAKEN and size < _MOST_TAKEN_BYTES:
            frame = self._waiting.popleft()
            size += len(frame)
            frames.append(frame.decode())
        self._bytes -= size
        if not self._waiting and self._last_close is not None:
            self.close = self.close or self._last_close
        return frames

    def fault(self, code: str, slug: str, message: str) -> None:
        """Tells this consumer alone that what it sent cannot be used; the tenth time closes it."""
        self.error(code, slug, message)
        self._faults[code] += 1
        if self._faults[code] >= MAX_FAULTS:
            self.finish(Close(POLICY_VIOLATION, f"{MAX_FAULTS} errors {code}"))

    def error(self, code: str, slug: str, message: str, **facts: str) -> None:
        """Sends an `error` to this consumer alone."""
        self.push(write({"type": "error", "code": code, "slug": slug, "message": message, **facts}))

    def finish(self, close: Close) -> None:
        """Closes the connection once everything that waits has been sent. The first call counts."""
        if self._last_close is None:
            self._last_close = close
            if not self._waiting:
                self.close = self.close or close
            self._tell()

    def cut(self, close: Close) -> None:
        """Closes the connection at once. The first call counts."""
        self._waiting.clear()
        self._bytes = 0
        self.close = self.close or close
        self._tell()

    def _tell(self) -> None:
        if self.on_news is not None:
            self.on_news()
