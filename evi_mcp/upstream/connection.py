"""A client's WebSocket on asyncio: its buffers are bounded both ways, and it notices when the other side is gone.

`websockets` opens the socket, does the handshake, writes and closes. This module adds an inbox whose bound is in bytes;
pings, which the library cannot send while the other side does not read; pongs that do not pile up if nobody reads them;
and `abort`, after which nothing more is delivered.
"""

import asyncio
import contextlib
import math
import secrets
import socket
import struct
import time
from collections import deque
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidState
from websockets.protocol import State

from evi_mcp.upstream.framing import FRAMES_AT_ONCE, Arrived, MessageProtocol

INBOX_BYTES = 2**20
"""The most bytes of messages that nobody has taken yet. The message that goes over it is kept; then reading stops."""
OVERHEAD = 200
"""The bytes that each message counts in addition to its data."""
LONGEST_MESSAGE_S = 300.0
"""How long a ping may stay unanswered while a message arrives, in seconds: the pong can only come after it."""


class Connection(ClientConnection):
    """A connection whose messages come from `take` and `next_message`; the library's `recv` gives none.

    It also closes the socket if the service has sent a close frame and does not hang up, or does not read what is still
    to be written. The library would wait until the ping timeout, and the system for ever.
    """

    protocol: MessageProtocol

    def __init__(self, protocol: ClientProtocol, **options: Any) -> None:
        super().__init__(MessageProtocol(protocol.uri, logger=protocol.logger), **options)
        self.heard_at = 0.0
        """When bytes last arrived (`time.monotonic()`)."""
        self.aborted_because: str | None = None
        """Why this side has aborted the connection; `None` if it has not."""
        self._inbox: deque[Arrived] = deque()
        self._inbox_size = 0
        self._reading = True
        self._news: asyncio.Future[None] | None = None
        self._sent_ping = b"nothing yet"
        self._pong_came = asyncio.Event()
        self._next_turn: asyncio.Handle | None = None
        self._leaving: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether a message can be written now."""
        return self.state is State.OPEN and not self.transport.is_closing()

    async def next_message(self) -> Arrived | None:
        """The next message; `None` if there are no more. Cancelling it loses no message."""
        while not self._inbox:
            if self.connection_lost_waiter.done():
                return None
            self._news = self.loop.create_future()
            await self._news
        return self.take()

    def take(self) -> Arrived | None:
        """The next message if it has already arrived, else `None`."""
        if not self._inbox:
            return None
        message = self._inbox.popleft()
        self._inbox_size -= OVERHEAD + len(message.data)
        if not self._reading:
            self._set_reading()
        return message

    def abort(self, because: str = "") -> None:
        """Ends the connection at once. What the other side's system has not taken by now never arrives."""
        if self.aborted_because is None:
            self.aborted_because = because
        if (underlying := self.transport.get_extra_info("socket")) is not None:
            # Otherwise the system would go on delivering its own buffer, for minutes.
            with contextlib.suppress(OSError):
                underlying.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    # What arrives

    def data_received(self, data: bytes) -> None:
        self.heard_at = time.monotonic()
        self._feed(data)

    def _feed(self, data: bytes) -> None:
        self.protocol.bounded_reader.frames_left = FRAMES_AT_ONCE
        super().data_received(data)
        self._take_in()
        self._set_reading()
        if self.protocol.close_expected():
            self._leave_soon()

    def _take_in(self) -> None:
        if arrived := self.protocol.messages_received():
            self._inbox += arrived
            self._inbox_size += sum(OVERHEAD + len(message.data) for message in arrived)
            self._tell()
        if self.protocol.newest_pong == self._sent_ping:
            self._pong_came.set()
        self._answer_ping()

    def _set_reading(self) -> None:
        """Reads while the inbox has room: first what has arrived already, in turns with other tasks."""
        if self.connection_lost_waiter.done():
            return
        has_room, resting = self._inbox_size <= INBOX_BYTES, self.protocol.bounded_reader.is_resting
        if has_room and resting and self._next_turn is None:
            self._next_turn = self.loop.call_soon(self._go_on)
        if (reading := has_room and not resting) != self._reading:
            self._reading = reading
            if reading:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def _go_on(self) -> None:
        self._next_turn = None
        if self.protocol.bounded_reader.is_resting and not self.connection_lost_waiter.done():
            self._feed(b"")

    def eof_received(self) -> None:
        self.protocol.bounded_reader.frames_left = math.inf
        super().eof_received()
        self._take_in()
        self._leave_soon()

    def _leave_soon(self) -> None:
        if self._leaving is None:
            assert self.close_timeout is not None
            self._leaving = self.loop.call_later(self.close_timeout, self.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
        self.protocol.bounded_reader.frames_left = math.inf
        self.protocol.bounded_reader.discard()
        super().connection_lost(exc)
        self._tell()

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    # Whether the other side is still there

    def _answer_ping(self) -> None:
        """Answers only the newest ping, as RFC 6455 (5.5.3) allows, and only when earlier writes have drained: so pongs
        do not pile up for a service that reads nothing."""
        if self.protocol.newest_ping is None or self.paused or self.state is not State.OPEN:
            return
        self.protocol.send_pong(self.protocol.newest_ping)
        self.protocol.newest_ping = None
        self.send_data()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._answer_ping()

    async def keepalive(self) -> None:
        """Sends pings, and aborts the connection when no pong comes in time. Unlike the library's, it does not wait
        until the ping is written: if the other side has stopped reading, that never happens."""
        assert self.ping_interval is not None
        while True:
            await asyncio.sleep(self.ping_interval)
            asked_at = self.loop.time()
            self._sent_ping = secrets.token_bytes(4)
            self._pong_came.clear()
            try:
                self.protocol.send_ping(self._sent_ping)
            except InvalidState:
                return  # the connection is closing already
            self.send_data()
            while not self._pong_came.is_set():
                left = self._gives_up_at(asked_at) - self.loop.time()
                if left <= 0:
                    self.abort("the service answers no pings")
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._pong_came.wait()

    def _gives_up_at(self, asked_at: float) -> float:
        """When a ping counts as unanswered: later if a message still arrives or waits to be read before the pong."""
        assert self.ping_timeout is not None
        at_the_latest = asked_at + LONGEST_MESSAGE_S
        if not self._reading:
            return at_the_latest
        if self.protocol.is_in_message:
            return min(at_the_latest, max(asked_at, self.heard_at) + self.ping_timeout)
        return asked_at + self.ping_timeout
