"""One client's socket on asyncio: bounded in what it buffers either way, and gone when the other side is.

`websockets` opens it, does the handshake, writes and closes. Own here are the inbox, whose bound is in bytes; pings,
which the library cannot send while the other side does not read; answers to pings, of which nobody has to read any; and
`abort`, after which nothing is delivered any more.
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
"""Of messages that nobody has taken yet; the one that goes over it is still taken in, then no more is read."""
OVERHEAD = 200
"""Bytes that a message counts for besides its data."""
LONGEST_MESSAGE_S = 300.0
"""How long a message may take to arrive before a ping has to be answered: the answer comes behind it."""


class Connection(ClientConnection):
    """A connection that gives messages by `take` and `next_message`; `recv` of the library gives none.

    It also leaves a service that has said goodbye and does not hang up, or does not read what is still to be written,
    for which the library would wait for as long as pings may take, and the system for ever.
    """

    protocol: MessageProtocol

    def __init__(self, protocol: ClientProtocol, **options: Any) -> None:
        super().__init__(MessageProtocol(protocol.uri, logger=protocol.logger), **options)
        self.heard_at = 0.0
        """When bytes last arrived (`time.monotonic()`)."""
        self.aborted_because: str | None = None
        """Why this side has ended it at once; `None` if it has not."""
        self._inbox: deque[Arrived] = deque()
        self._inbox_size = 0
        self._reading = True
        self._news: asyncio.Future[None] | None = None
        self._asked = b"nothing yet"
        self._answered = asyncio.Event()
        self._next_turn: asyncio.Handle | None = None
        self._leaving: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether a message can be written now."""
        return self.state is State.OPEN and not self.transport.is_closing()

    async def next_message(self) -> Arrived | None:
        """The next message; `None` if there are no more. May be cancelled without losing one."""
        while not self._inbox:
            if self.connection_lost_waiter.done():
                return None
            self._news = self.loop.create_future()
            await self._news
        return self.take()

    def take(self) -> Arrived | None:
        """The next message if it is here already; else `None`."""
        if not self._inbox:
            return None
        message = self._inbox.popleft()
        self._inbox_size -= OVERHEAD + len(message.data)
        if not self._reading:
            self._read_on_or_not()
        return message

    def abort(self, because: str = "") -> None:
        """Ends the connection at once. What the other side's system has not taken by now never arrives."""
        if self.aborted_because is None:
            self.aborted_because = because
        if (underlying := self.transport.get_extra_info("socket")) is not None:
            # Else the system would go on delivering what it has of it, for minutes.
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
        self._read_on_or_not()
        if self.protocol.close_expected():
            self._leave_soon()

    def _take_in(self) -> None:
        if arrived := self.protocol.messages_received():
            self._inbox += arrived
            self._inbox_size += sum(OVERHEAD + len(message.data) for message in arrived)
            self._tell()
        if self.protocol.newest_pong == self._asked:
            self._answered.set()
        self._answer_ping()

    def _read_on_or_not(self) -> None:
        """Reads as long as there is room in the inbox: what has arrived already first, in turns with everybody else."""
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

    # Whether the other side is there

    def _answer_ping(self) -> None:
        """Answers the newest ping alone, as RFC 6455 (5.5.3) allows, and once what was written before is on its way:
        who reads nothing makes nothing pile up."""
        if self.protocol.newest_ping is None or self.paused or self.state is not State.OPEN:
            return
        self.protocol.send_pong(self.protocol.newest_ping)
        self.protocol.newest_ping = None
        self.send_data()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._answer_ping()

    async def keepalive(self) -> None:
        """Pings, and ends the connection when no answer comes in time. Unlike that of the library, it does not wait
        until the ping is written: nothing is, if the other side has stopped reading."""
        assert self.ping_interval is not None
        while True:
            await asyncio.sleep(self.ping_interval)
            asked_at = self.loop.time()
            self._asked = secrets.token_bytes(4)
            self._answered.clear()
            try:
                self.protocol.send_ping(self._asked)
            except InvalidState:
                return  # it is being left already
            self.send_data()
            while not self._answered.is_set():
                left = self._gives_up_at(asked_at) - self.loop.time()
                if left <= 0:
                    self.abort("the service answers no pings")
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._answered.wait()

    def _gives_up_at(self, asked_at: float) -> float:
        """When a ping counts as not answered: later while a message arrives, or waits to be read, before the answer."""
        assert self.ping_timeout is not None
        at_the_latest = asked_at + LONGEST_MESSAGE_S
        if not self._reading:
            return at_the_latest
        if self.protocol.is_in_message:
            return min(at_the_latest, max(asked_at, self.heard_at) + self.ping_timeout)
        return asked_at + self.ping_timeout
