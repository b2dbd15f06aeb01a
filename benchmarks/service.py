"""A service that does nothing but send, as fast as it can, in a process of its own (`python -m benchmarks.service`).

Orders come as JSON lines on stdin, each is answered by one on stdout; the first line says where it listens. What a
chat has sent so far is its history, and is replayed to whoever connects.
"""

import asyncio
import heapq
import itertools
import json
import random
import re
import sys
import time
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State

from benchmarks import traffic

CHUNK = 256 * 1024
HANDSHAKE_S = 0.05
"""What a handshake takes at the service, so that those under way at once can be counted."""

_STAMP = re.compile(traffic.STAMP + r"(\d+)")


class _Mix:
    """The frames of the mix as bytes on the wire, made once and shared by all chats."""

    def __init__(self, audio: bool) -> None:
        self._more: Iterator[str] = traffic.frames(audio=audio)
        self._made: list[bytes] = []

    def part(self, start: int, count: int) -> list[bytes]:
        while len(self._made) < start + count:
            self._made.append(_wire(next(self._more)))
        return self._made[start : start + count]


@cache
def _mix(audio: bool) -> _Mix:
    return _Mix(audio)


class _Connection(ServerConnection):
    """Counts handshakes under way, from the first byte on."""

    under_way = 0
    most = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        _Connection.under_way += 1
        _Connection.most = max(_Connection.most, _Connection.under_way)
        super().connection_made(transport)


class Service:
    """All chats there are: any that somebody asks for."""

    def __init__(self) -> None:
        self.sockets: dict[str, ServerConnection] = {}
        self.history: dict[str, list[bytes]] = {}
        self.opening: list[bytes] = []  # what a chat has said before anybody came
        self.positions: dict[tuple[str, bool], int] = {}
        self.latencies: list[int] = []
        self.numbers = itertools.count(1)
        self.pacing: asyncio.Task[None] | None = None

    async def handshake(self, connection: ServerConnection, request: Request) -> None:
        await asyncio.sleep(HANDSHAKE_S)
        _Connection.under_way -= 1

    async def handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        chat_id = urlsplit(connection.request.path).path.split("/")[4]
        if chat_id not in self.history:
            self.history[chat_id] = [_wire(traffic.greeting(chat_id)), *self.opening]
            self.positions[chat_id, False] = len(self.opening)
        self.sockets[chat_id] = connection
        try:
            await self._write(connection, self.history[chat_id])
            async for frame in connection:
                now = time.monotonic_ns()
                if stamp := _STAMP.search(str(frame)):
                    self.latencies.append(now - int(stamp[1]))
        except ConnectionClosed:
            pass
        finally:
            if self.sockets.get(chat_id) is connection:
                del self.sockets[chat_id]

    async def _write(self, connection: ServerConnection, frames: list[bytes]) -> None:
        waiting: list[bytes] = []
        size = 0
        for frame in frames:
            waiting.append(frame)
            size += len(frame)
            if size >= CHUNK:
                connection.transport.write(b"".join(waiting))
                waiting, size = [], 0
                await connection.drain()
                if connection.transport.is_closing():
                    return
        connection.transport.write(b"".join(waiting))

    # Orders

    async def obey(self, do: str, **order: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await getattr(self, f"do_{do}")(**order)
        return answer

    async def do_opening(self, frames: int) -> dict[str, Any]:
        """Chats that nobody has asked for yet have said so many frames (without audio)."""
        self.opening = list(_mix(False).part(0, frames))
        return {}

    async def do_burst(self, chat_id: str, frames: int, audio: bool) -> dict[str, Any]:
        """Says the next frames of the mix, and then a last word; when the first one left."""
        position = self.positions.get((chat_id, audio), 0)
        self.positions[chat_id, audio] = position + frames
        new = [*_mix(audio).part(position, frames), _wire(traffic.last_word(next(self.numbers)))]
        if not audio:
            self.history[chat_id] += new
        connection = self.sockets[chat_id]
        started = time.monotonic_ns()
        await self._write(connection, new)
        return {"started": started}

    async def do_say(self, chat_id: str) -> dict[str, Any]:
        """Says something with the time in it."""
        self._say(chat_id)
        return {}

    def _say(self, chat_id: str) -> None:
        connection = self.sockets.get(chat_id)
        if connection is not None and connection.state is State.OPEN:
            stamped = traffic.said(f"{traffic.STAMP}{time.monotonic_ns()}", next(self.numbers))
            connection.transport.write(_wire(stamped))

    async def do_pace(self, per_second: float) -> dict[str, Any]:
        """From now on every chat says something so many times a second, each in a rhythm of its own; 0 ends it."""
        if self.pacing:
            self.pacing.cancel()
            self.pacing = None
        if per_second:
            self.pacing = asyncio.create_task(self._pace(1 / per_second))
        return {}

    async def _pace(self, period: float) -> None:
        start, numbers = time.monotonic(), random.Random(3)
        due = [(start + numbers.random() * period, chat_id) for chat_id in self.sockets]
        heapq.heapify(due)
        while True:
            at, chat_id = due[0]
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            # Not quite even, as speech is not: else the same chats would meet in every round.
            heapq.heapreplace(due, (at + period * (0.5 + numbers.random()), chat_id))
            self._say(chat_id)

    async def do_drop(self) -> dict[str, Any]:
        """Breaks every connection at once; when. While nobody listens, every chat says a last word."""
        _Connection.most = _Connection.under_way
        for history in self.history.values():
            history.append(_wire(traffic.last_word(next(self.numbers))))
        now = time.monotonic_ns()
        for connection in list(self.sockets.values()):
            connection.transport.abort()
        return {"at": now}

    async def do_stats(self) -> dict[str, Any]:
        """What there was since the last time: the latencies of commands in ns; and the most handshakes at once."""
        latencies, self.latencies = self.latencies, []
        return {"latencies": latencies, "most_handshakes": _Connection.most, "connected": len(self.sockets)}


def _wire(frame: str) -> bytes:
    return Frame(Opcode.TEXT, frame.encode()).serialize(mask=False)


async def main() -> None:
    """Serves until stdin ends."""
    service = Service()
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    async with serve(
        service.handle, "127.0.0.1", 0, process_request=service.handshake, create_connection=_Connection,
        compression=None, ping_interval=None, close_timeout=0.1, backlog=2048,
    ) as server:  # fmt: skip
        print(json.dumps({"base_url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"}), flush=True)
        while line := await orders.readline():
            print(json.dumps(await service.obey(**json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
