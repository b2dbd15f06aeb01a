"""uvicorn, made to fit: it is told when to end, and hangs up on whoever does not.

What is changed, and why (uvicorn 0.54):

- It waits for ever for half a request, and for a peer that is closed and reads no more. Here each has a deadline.
- It refuses a frame that is too large with 1009 and closes at once: with unread bytes left, the system resets the
  connection, and the peer never sees why. Here the rest is read first, for a moment.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from evi_mcp.protocol.codec import MAX_FRAME_BYTES
from evi_mcp.serving import Server, quiet_config

CLOSE_TIMEOUT_S = 1.0
"""How long a peer may take to answer a close frame."""
PING_INTERVAL_S = 20.0
PING_TIMEOUT_S = 20.0
"""A peer that answers no ping within this time is gone."""
FLUSH_TIMEOUT_S = 30.0
"""How long a peer that is closed may take to read what was written before."""
REQUEST_TIMEOUT_S = 30.0
"""How long a request may take, from its first byte to the end of its answer."""
HANG_UP = "evi_mcp.hang_up"
"""The extension of a WebSocket's scope: a function that closes it with a code and a reason, and never waits."""


class _WebSocket(WebSocketsSansIOProtocol):
    """A WebSocket that is over a second after it was closed, whatever the peer does."""

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if not self.close_sent:  # the app's task has not begun yet
            extensions: Any = self.scope["extensions"]
            extensions[HANG_UP] = self.hang_up

    def hang_up(self, code: int, reason: str) -> None:
        """Writes a close frame behind what is written already. What the peer does not read is given up."""
        closing = self.close_sent or self.conn.close_rcvd is not None or self.transport.is_closing()
        if self.handshake_complete and not closing:
            self.conn.send_close(code, reason)
            self._say_goodbye(code, reason)

    async def send(self, message: Any) -> None:
        if self.close_sent and message["type"] == "websocket.send":
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.close":
            self._leave()

    def handle_parser_exception(self) -> None:
        if self.close_sent:
            return  # the rest of what broke the protocol is read, and not looked at
        close = self.conn.close_sent
        assert close is not None
        self._say_goodbye(close.code, close.reason)
        if self.conn.parser_exc is not None and self.transport.can_write_eof():
            self.transport.write_eof()  # a close frame of the peer would not be noticed any more

    def handle_close(self, event: Any) -> None:
        super().handle_close(event)
        self._leave()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._leave()

    def _say_goodbye(self, code: int, reason: str) -> None:
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self._leave()

    def _leave(self) -> None:
        """Aborts the connection once nothing moves any more, and at the latest after `FLUSH_TIMEOUT_S`."""
        self._leave_if_unread(self.transport.get_write_buffer_size() + 1, self.loop.time() + FLUSH_TIMEOUT_S)

    def _leave_if_unread(self, unread: int, ends: float) -> None:
        if self.close_timer is not None:
            self.close_timer.cancel()
            self.close_timer = None
        left = self.transport.get_write_buffer_size()
        if self.disconnected:
            return
        if left >= unread or self.loop.time() >= ends:
            self.transport.abort()
        else:
            self.close_timer = self.loop.call_later(CLOSE_TIMEOUT_S, self._leave_if_unread, left, ends)


class _Http(H11Protocol):
    """An HTTP connection with a deadline for each request."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        self._expect()
        super().data_received(data)

    def on_response_complete(self) -> None:
        self._relax()
        super().on_response_complete()
        if not self.cycle.response_complete:  # the next request was here already
            self._expect()

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._relax()
        super().handle_websocket_upgrade(event)

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._expect()  # its last answer may still be unread

    def connection_lost(self, exc: Exception | None) -> None:
        self._relax()
        super().connection_lost(exc)

    def _expect(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_TIMEOUT_S, self.transport.abort)

    def _relax(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _Server(Server):
    """A server that is stopped by `stop`."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = anyio.Event()
        self._stopped = anyio.Event()

    def stop(self) -> None:
        self._stopped.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        await self._stopped.wait()


@asynccontextmanager
async def serving(
    app: ASGIApp, listener: socket.socket, *, before_stop: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    """Serves an app for as long as the block runs.

    Args:
        app: Without a lifespan of its own.
        listener: From `evi_mcp.serving.listen`; closed at the end.
        before_stop: Awaited when the block is left, while connections are still served.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)  # what fails in the app is logged by the app
    config = quiet_config(
        app,
        http=_Http,
        ws=_WebSocket,
        ws_max_size=MAX_FRAME_BYTES,
        ws_ping_interval=PING_INTERVAL_S,
        ws_ping_timeout=PING_TIMEOUT_S,
        ws_per_message_deflate=False,
        proxy_headers=False,
        date_header=False,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)

    async def serve() -> None:
        with anyio.CancelScope(shield=True):  # it is told to stop, and then stops in order
            await server.serve(sockets=[listener])

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        await server.ready.wait()
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await before_stop()
                server.stop()
