"""Following chats on the in-memory connector, quickly, and transports that misbehave."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import repeat
from typing import Any

import anyio

from evi_mcp.supervision.following import Pace
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.supervision.registry import ChatRegistry
from evi_mcp.upstream.memory import MemoryConnector, MemoryTransport
from evi_mcp.upstream.transport import Closed, Connector, Refused, Unreachable
from tests import frames


def at_once() -> Iterator[float]:
    return repeat(0.0)


QUICK = Pace(first_frame=0.05, quiet=0.02, long_quiet=0.2, replay=0.5, delays=at_once)


@asynccontextmanager
async def following(
    connector: Connector | MemoryConnector, pace: Pace = QUICK, **limits: Any
) -> AsyncIterator[ChatRegistry]:
    with anyio.fail_after(10):
        async with ChatRegistry(connector, pace=pace, **limits) as registry:
            yield registry


async def until(chat: LiveChat, state: str) -> None:
    while chat.state != state:
        await chat.changed()


class Handing:
    """A connector that hands out this one transport, and then nothing."""

    def __init__(self, transport: MemoryTransport) -> None:
        self._transports = [transport]

    async def connect(self, chat_id: str) -> MemoryTransport:
        if not self._transports:
            raise Unreachable("nothing more")
        return self._transports.pop()

    async def explain_refusal(self, chat_id: str, status: int) -> str:
        return f"HTTP {status}"


class Refusing:
    """A connector that refuses every handshake."""

    async def connect(self, chat_id: str) -> MemoryTransport:
        raise Refused(403)

    async def explain_refusal(self, chat_id: str, status: int) -> str:
        return f"HTTP {status}"


class BreaksOnWrite(MemoryTransport):
    """The connection is lost while a frame is being written."""

    async def send(self, frame: str) -> None:
        self.sent.append(frame)
        self.shut(None)
        raise Closed(None)


class NeverTakes(MemoryTransport):
    """The other side has stopped reading, and the buffers are full."""

    async def send(self, frame: str) -> None:
        await anyio.sleep_forever()


class Pouring(MemoryTransport):
    """There is always another frame, received without waiting; but so many only, or a server without turns would never
    be found out."""

    def __init__(self, *first: str) -> None:
        super().__init__()
        self._first = iter(first)
        self._number = 0

    @property
    def goes_on(self) -> bool:
        return self._number < 200_000

    async def receive(self) -> str | bytes:
        if not (self.goes_on and self.is_open):
            raise Closed(None)
        self._number += 1
        if (frame := next(self._first, None)) is not None:
            return frame
        return frames.user(f"word {self._number}", self._number)
