"""A service over HTTP/1.1 that does with an answer whatever a test wants: no end, no size, no sense."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.listening import listening

Answering = Callable[["Asked", asyncio.StreamWriter], Awaitable[None]]


class Asked:
    """One request: its head, as text, and its body."""

    def __init__(self, head: str, body: bytes) -> None:
        self.head, self.body = head, body
        self.method, self.path = head.split(" ")[:2]


class Service:
    """What `serving` runs. `written` are the bytes of bodies that it has got rid of."""

    def __init__(self, answering: Answering) -> None:
        self.base_url = ""
        self.answering = answering
        self.asked: list[Asked] = []
        self._news = asyncio.Event()

    async def wait_asked(self, count: int) -> None:
        """Returns when there were so many requests."""
        async with asyncio.timeout(10):
            while len(self.asked) < count:
                self._news.clear()
                await self._news.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = [line for line in head.lower().split("\r\n") if line.startswith("content-length:")]
                body = await reader.readexactly(int(length[0].split(":")[1])) if length else b""
                self.asked.append(Asked(head, body))
                self._news.set()
                await self.answering(self.asked[-1], writer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass


@asynccontextmanager
async def serving(answering: Answering, context: ssl.SSLContext | None = None) -> AsyncIterator[Service]:
    """Runs a service that answers each request so."""
    service = Service(answering)
    async with listening(service.serve, context) as address:
        service.base_url = f"{'https' if context else 'http'}://{address}"
        yield service


def head(status: int = 200, *lines: str) -> bytes:
    """The head of an answer with these header lines."""
    return "\r\n".join([f"HTTP/1.1 {status} Whatever", *lines, "", ""]).encode()


def body(data: bytes, status: int = 200, *lines: str) -> Answering:
    """Answers with this body, and all is as it should be."""

    async def answer(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(status, f"Content-Length: {len(data)}", *lines) + data)

    return answer


def endless(piece: bytes, every_s: float = 0.0, *lines: str) -> Answering:
    """Answers with a body that goes on and on, a piece at a time."""

    async def answer(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, *lines))
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(every_s)

    return answer


def bomb(mebibytes: int) -> bytes:
    """JSON of so many MiB, as gzip a thousandth of that."""
    piece = b'{"chats_page": [], "x": "' + b"0" * (mebibytes * 2**20) + b'"}'
    return gzip.compress(piece, 5, mtime=0)
