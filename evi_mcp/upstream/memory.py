"""A connector without a network, for tests and for embedding: the caller plays the service."""

import time
from collections import defaultdict, deque

import anyio
import anyio.lowlevel

from evi_mcp.protocol.messages import ProtocolFault
from evi_mcp.upstream.transport import NORMAL_CLOSURE, Closed, MaybeTaken, NotTaken, Refused, Transport, Unreachable


class MemoryTransport:
    """Both ends of one connection. The service's end is `push`, `sent` and `shut`."""

    def __init__(self, frames: tuple[str | bytes | ProtocolFault, ...] = ()) -> None:
        self._incoming: deque[str | bytes | ProtocolFault] = deque(frames)
        self._news = anyio.Event()
        self._end: Closed | None = None
        self.heard_at = time.monotonic()
        self.sent: list[str] = []
        """Every frame that the client wrote."""
        self.closed_with: int | None = None
        """The code with which the client closed the connection; `None` if it has not."""

    @property
    def is_open(self) -> bool:
        return self._end is None

    def push(self, frame: str | bytes | ProtocolFault) -> None:
        """Sends a frame to the client."""
        self.heard_at = time.monotonic()
        self._incoming.append(frame)
        self._tell()

    def shut(self, code: int | None = NORMAL_CLOSURE, reason: str = "") -> None:
        """Closes the connection from the service's side, after the pushed frames; `None` cuts it without a close
        frame."""
        self._end = self._end or Closed(code, reason)
        self._tell()

    async def wait_sent(self, count: int) -> list[str]:
        """The frames that the client wrote, once there are at least `count`."""
        while len(self.sent) < count:
            await self._news.wait()
        return self.sent

    async def receive(self) -> str | bytes | ProtocolFault:
        await anyio.lowlevel.checkpoint()
        while not self._incoming:
            if self._end is not None:
                raise self._end
            await self._news.wait()
        return self._incoming.popleft()

    async def send(self, frame: str) -> None:
        if self._end is not None:
            raise self._end
        self.sent.append(frame)
        self._tell()
        try:
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class():
            self.abort()
            raise

    async def close(self) -> None:
        await anyio.lowlevel.checkpoint()
        if self._end is None:
            self.closed_with = NORMAL_CLOSURE
            self.shut(NORMAL_CLOSURE)

    def abort(self) -> None:
        self.shut(None)

    def _tell(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()


class MemoryConnector:
    """Hands out `MemoryTransport`s.

    Each call of `connect` takes the next step of `script`: a tuple gives the first frames of a connection, an exception
    is raised. The last step repeats.
    """

    def __init__(self, *script: tuple[str | bytes | ProtocolFault, ...] | Refused | Unreachable) -> None:
        self._script = list(script) or [()]
        self.connections: defaultdict[str, list[MemoryTransport]] = defaultdict(list)
        """Every connection handed out, by chat id, oldest first."""
        self.attempts = 0
        self.posted: list[tuple[str, str]] = []
        """Every command that was posted: chat id and frame."""
        self.refuse_posts: NotTaken | MaybeTaken | None = NotTaken("this service takes no posts")
        """The exception that a post raises; `None` accepts posts."""

    async def connect(self, chat_id: str) -> Transport:
        await anyio.lowlevel.checkpoint()
        self.attempts += 1
        step = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(step, Exception):
            raise step
        transport = MemoryTransport(step)
        self.connections[chat_id].append(transport)
        return transport

    async def post(self, chat_id: str, frame: str, within_s: float) -> None:
        await anyio.lowlevel.checkpoint()
        if self.refuse_posts is not None:
            raise self.refuse_posts
        self.posted.append((chat_id, frame))

    async def explain_refusal(self, chat_id: str, status: int) -> str:
        await anyio.lowlevel.checkpoint()
        return f"the service refused the connection (HTTP {status})"
