"""WebSockets of the hub, as ASGI gives them: one for each consumer and each bot.

Each has a task that reads and one that writes. What is read is taken in for a millisecond at most before the others
have their turn, since a peer that floods never makes its reader wait.
"""

import logging
import time
from collections.abc import Callable
from typing import Protocol

import anyio
import anyio.lowlevel
from starlette.websockets import WebSocket, WebSocketDisconnect

from evi_mcp.clock import Clock, sleep, timeout
from evi_mcp.hub.closes import INTERNAL_ERROR, POLICY_VIOLATION, TRY_AGAIN_LATER, Close
from evi_mcp.hub.link_connections import LinkConnection
from evi_mcp.hub.server import CLOSE_TIMEOUT_S, HANG_UP
from evi_mcp.logs import fields

SLOW_READER_S = 20.0
"""How long a peer may leave a frame unread before it is closed with 1013."""
ACK_DELAY_S = 0.05
"""For how long acknowledgements are collected, as long as nothing else is to be written."""
HELLO_WITHIN_S = 10.0
SLICE_S = 0.001
"""For how long one socket is read without a break."""

_log = logging.getLogger(__name__)


class Outgoing(Protocol):
    """What is to be written to a peer: a consumer of a chat, or the hub's side of a link."""

    on_news: Callable[[], None] | None

    @property
    def close(self) -> Close | None:
        """How the connection is to be closed, as soon as it is."""
        ...

    @property
    def can_wait(self) -> bool:
        """Whether what there is to write is in no hurry."""
        ...

    def take(self) -> list[str]:
        """The next frames to write; none if there is nothing to write now."""
        ...


class Gone(Exception):
    """The peer is not there any more, or does not read."""


class Socket:
    """An accepted WebSocket."""

    def __init__(self, websocket: WebSocket, clock: Clock) -> None:
        self._websocket = websocket
        self._clock = clock

    @classmethod
    async def accept(cls, websocket: WebSocket, clock: Clock) -> "Socket":
        """Answers the handshake."""
        await websocket.accept()
        return cls(websocket, clock)

    async def serve(self, outgoing: Outgoing, receive: Callable[[str | bytes], None]) -> None:
        """Carries frames in both directions until either side ends it.

        Args:
            outgoing: What is written.
            receive: Takes what is read, in place.
        """
        try:
            async with anyio.create_task_group() as both:
                both.start_soon(self._write_all, outgoing, both.cancel_scope)
                await self._read_all(receive)
                both.cancel_scope.cancel()
        except Exception:
            _log.exception("a connection failed")
            await self.close(Close(INTERNAL_ERROR, "the hub failed on this connection; see its log"))
        finally:
            outgoing.on_news = None

    async def close(self, close: Close) -> None:
        """Writes the close frame behind everything else; hardly waits. The connection is gone a moment later."""
        hang_up = self._websocket.scope.get("extensions", {}).get(HANG_UP)
        if hang_up is not None:
            hang_up(close.code, close.wire_reason)
            return
        with anyio.move_on_after(CLOSE_TIMEOUT_S):  # another server than ours: it waits until the peer reads
            await self._websocket.close(close.code, close.wire_reason)

    async def _read_all(self, receive: Callable[[str | bytes], None]) -> None:
        ends = time.monotonic() + SLICE_S
        while (message := await self._websocket.receive())["type"] == "websocket.receive":
            text = message.get("text")
            receive(text if text is not None else message["bytes"])
            if time.monotonic() >= ends:
                await anyio.lowlevel.checkpoint()
                ends = time.monotonic() + SLICE_S

    async def _write_all(self, outgoing: Outgoing, both: anyio.CancelScope) -> None:
        news = anyio.Event()

        def tell() -> None:
            news.set()

        outgoing.on_news = tell
        while True:
            frames = outgoing.take()
            try:
                await self._write(frames)
            except Gone:
                both.cancel()
                return
            if outgoing.close is not None:
                await self.close(outgoing.close)
                return  # the reader ends as soon as the peer has answered
            if not frames:
                await news.wait()
                news = anyio.Event()
                with timeout(self._clock, ACK_DELAY_S):
                    while outgoing.can_wait:
                        await news.wait()
                        news = anyio.Event()

    async def _write(self, frames: list[str]) -> None:
        try:
            for frame in frames:
                with timeout(self._clock, SLOW_READER_S) as reading:
                    await self._websocket.send_text(frame)
                if reading.cancelled_caught:
                    await self.close(Close(TRY_AGAIN_LATER, f"nothing was read for {SLOW_READER_S:g} s"))
                    raise Gone
        except (OSError, WebSocketDisconnect):
            raise Gone from None
        await anyio.lowlevel.checkpoint()  # writing does not wait as long as the system takes it


async def serve_link(socket: Socket, link: LinkConnection, clock: Clock) -> None:
    """The hub's side of a link, until either side ends it."""

    def receive(frame: str | bytes) -> None:
        link.receive(frame, int(clock.now() * 1000))

    async def expect_hello() -> None:
        await sleep(clock, HELLO_WITHIN_S)
        if link.session is None:
            link.leave(f"no hello came within {HELLO_WITHIN_S:g} s", POLICY_VIOLATION)

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(expect_hello)
            await socket.serve(link, receive)
            group.cancel_scope.cancel()
    finally:
        link.gone(clock.elapsed())
        if link.faults:
            facts = fields(chat_id=link.chat_id, frames=link.faults, last=link.last_fault)
            _log.warning("a bot sent frames that cannot be read", extra=facts)
