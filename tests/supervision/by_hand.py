"""Following one chat with a clock and a service that the test moves by hand: nothing takes any time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from evi_mcp.chat.events import CHAT_STATE, Event
from evi_mcp.supervision.following import Pace, follow
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.upstream.memory import MemoryTransport
from evi_mcp.upstream.transport import NotTaken, Refused, Transport, Unreachable
from tests.clocks import HandClock, settle
from tests.supervision.following import house_of


class Service:
    """Accepts every connection and says nothing by itself; `connections` are those it has accepted, oldest first.

    `refuses`: raised instead of accepting, while it is set. `attempts`: when each handshake was tried.
    """

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self.connections: list[MemoryTransport] = []
        self.refuses: Refused | Unreachable | None = None
        self.attempts: list[float] = []
        self.greeting: tuple[str, ...] = ()
        """What every connection begins with."""

    async def connect(self, chat_id: str) -> Transport:
        self.attempts.append(self._clock.elapsed())
        if self.refuses is not None:
            raise self.refuses
        self.connections.append(MemoryTransport(self.greeting))
        return self.connections[-1]

    async def post(self, chat_id: str, frame: str, within_s: float) -> None:
        raise NotTaken("this service takes no posts")

    async def explain_refusal(self, chat_id: str, status: int) -> str:
        return f"refused (HTTP {status})"


class Followed:
    """A chat that is followed."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.service = Service(clock)
        self.chat = LiveChat("chat-1", house_of(self.service, clock))
        self.started = clock.elapsed()

    @property
    def seconds(self) -> float:
        """How long the chat has been followed."""
        return self.clock.elapsed() - self.started

    @property
    def state(self) -> str:
        return self.chat.state.value

    @property
    def reason(self) -> str | None:
        return self.chat.record.reason

    @property
    def is_catching_up(self) -> bool:
        assert self.chat.record.catching_up == self.chat.reader.history.catching_up
        return self.chat.record.catching_up

    def events(self) -> list[Event]:
        """What the log holds of the chat itself."""
        return [event for event in self.chat.record.log if event.type != CHAT_STATE]

    def said(self) -> list[str]:
        """The same as words, those that came with a history with a star."""
        return [
            f"{event.text or event.tool_call_id or event.type}{'*' if event.replayed else ''}"
            for event in self.events()
        ]

    async def pass_(self, seconds: float) -> None:
        """Time passes."""
        await self.clock.advance(seconds)

    async def says(self, *made: str) -> None:
        """The newest connection brings these frames."""
        for frame in made:
            self.service.connections[-1].push(frame)
        await settle()

    async def drop(self, code: int | None = None, reason: str = "") -> None:
        """The newest connection breaks, or is closed with a code."""
        self.service.connections[-1].shut(code, reason)
        await settle()

    async def reconnected(self) -> None:
        """Time passes until the next connection stands."""
        before = len(self.service.connections)
        while len(self.service.connections) == before:
            assert not self.chat.over, self.reason
            await self.clock.advance(0.05)


@asynccontextmanager
async def followed(pace: Pace | None = None, *greeting: str) -> AsyncIterator[Followed]:
    """Follows a chat whose connections begin with these frames; the first one stands."""
    here = Followed(HandClock())
    here.service.greeting = greeting
    async with anyio.create_task_group() as group:
        group.start_soon(follow, here.chat, here.service, pace or Pace(), anyio.CapacityLimiter(10), here.clock)
        await settle()
        yield here
        group.cancel_scope.cancel()
