"""Following chats on the in-memory connector, quickly, and transports that misbehave."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import repeat
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from evi_mcp.access.callers import EVERYTHING, agent
from evi_mcp.chat.memory import Memory
from evi_mcp.chat.pages import Filter
from evi_mcp.chat.triggers import Trigger
from evi_mcp.clock import Clock, SystemClock
from evi_mcp.ledger.journal import Journal, NullJournal
from evi_mcp.ledger.memory import MemoryLedger
from evi_mcp.protocol.commands import UserInput
from evi_mcp.protocol.redaction import Mask
from evi_mcp.supervision.feed import Scope
from evi_mcp.supervision.following import Pace
from evi_mcp.supervision.house import House
from evi_mcp.supervision.intents import Intent
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.supervision.registry import ChatRegistry
from evi_mcp.supervision.waiting import Wait
from evi_mcp.upstream.memory import MemoryConnector, MemoryTransport
from evi_mcp.upstream.transport import Closed, Connector, NotTaken, Refused, Unreachable
from tests import frames


def at_once() -> Iterator[float]:
    return repeat(0.0)


ME = agent("agent-1", "me", EVERYTHING)
ANOTHER = agent("agent-2", "another", EVERYTHING)


def saying(text: str, **more: Any) -> Intent:
    """A `user_input` of mine."""
    return Intent(command=UserInput.of(text=text), by=ME, **more)


QUICK = Pace(first_frame=0.05, quiet=0.02, long_quiet=0.2, replay=0.5, delays=at_once)


def house_of(
    connector: Connector,
    clock: Clock | None = None,
    *,
    mask: Mask | None = None,
    journal: Journal | None = None,
    max_events: int = 10_000,
    max_audio: int = 0,
    make_ready: Callable[[], None] = lambda: None,
) -> House:
    """What chats share, with nothing kept between two of these."""
    return House(
        connector=connector,
        ledger=MemoryLedger(),
        clock=clock or SystemClock(),
        journal=journal or NullJournal(),
        memory=Memory(),
        mask=mask or Mask(),
        max_events=max_events,
        max_audio=max_audio,
        make_ready=make_ready,
    )


@asynccontextmanager
async def following(
    connector: Connector | MemoryConnector,
    pace: Pace = QUICK,
    *,
    clock: Clock | None = None,
    max_chats: int = 1000,
    max_events: int = 10_000,
    max_audio: int = 0,
    mask: Mask | None = None,
    journal: Journal | None = None,
    make_ready: Callable[[], None] = lambda: None,
) -> AsyncIterator[ChatRegistry]:
    house = house_of(
        connector,
        clock,
        max_events=max_events,
        max_audio=max_audio,
        mask=mask or Mask(),
        journal=journal,
        make_ready=make_ready,
    )
    with anyio.fail_after(10):
        async with ChatRegistry(house, pace=pace, max_chats=max_chats) as registry:
            yield registry


async def until(chat: LiveChat, state: str) -> None:
    while chat.state != state:
        await chat.changed()


async def happens(condition: Callable[[], Any]) -> None:
    """Returns once it is so."""
    while not condition():
        await checkpoint()


def waiting(
    registry: ChatRegistry,
    only: list[LiveChat] | None,
    wanted: Filter,
    until: Sequence[Trigger] = (),
    *,
    after: int = 0,
    caller: str = "agent-1",
) -> Wait:
    """A wait of one caller who has read up to `after`."""
    return Wait(
        Scope(registry, lambda _: True, only),
        wanted,
        until,
        caller=caller,
        read_to=lambda _: after,
        reserve=registry.house.ledger.reserve,
        clock=registry.house.clock,
        waits=registry.waits,
    )


class Handing:
    """A connector that hands out these transports, the last one first, and then nothing."""

    def __init__(self, *transports: MemoryTransport) -> None:
        self._transports = list(transports)

    async def connect(self, chat_id: str) -> MemoryTransport:
        if not self._transports:
            raise Unreachable("nothing more")
        return self._transports.pop()

    async def post(self, chat_id: str, frame: str, within_s: float) -> None:
        raise NotTaken("this service takes no posts")

    async def explain_refusal(self, chat_id: str, status: int) -> str:
        return f"HTTP {status}"


class Refusing:
    """A connector that refuses every handshake."""

    async def connect(self, chat_id: str) -> MemoryTransport:
        raise Refused(403)

    async def post(self, chat_id: str, frame: str, within_s: float) -> None:
        raise NotTaken("this service takes no posts")

    async def explain_refusal(self, chat_id: str, status: int) -> str:
        return f"HTTP {status}"


class BreaksOnWrite(MemoryTransport):
    """The connection is lost while a frame is being written."""

    async def send(self, frame: str) -> None:
        self.sent.append(frame)
        self.shut(None)
        raise Closed(None)


class FailsOn(MemoryTransport):
    """Something in this server is broken: writing such a command fails, until it is `mended`."""

    def __init__(self, *commands: str, first: tuple[str, ...]) -> None:
        super().__init__(first)
        self._commands = commands
        self.mended = False

    async def send(self, frame: str) -> None:
        if not self.mended and any(f'"type":"{command}"' in frame for command in self._commands):
            raise RuntimeError("boom")
        await super().send(frame)


class NeverTakes(MemoryTransport):
    """The other side has stopped reading, and the buffers are full."""

    async def send(self, frame: str) -> None:
        await anyio.sleep_forever()


class Flooding(MemoryTransport):
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
