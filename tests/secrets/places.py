"""Places where a request with a key could go, and must not, or finds an answer that is none."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.listening import listening

NO_ROUTE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Place:
    """Somewhere on the network that is no service of ours: its host and port, what it answers, and what came there."""

    def __init__(self, answer: bytes) -> None:
        self.address = ""
        self.answer = answer
        self.heads: list[str] = []


@asynccontextmanager
async def somewhere(context: ssl.SSLContext | None = None, answer: bytes = NO_ROUTE) -> AsyncIterator[Place]:
    """Runs one, which says `answer` to whatever it is asked."""
    place = Place(answer)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            place.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(place.answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass

    async with listening(serve, context) as place.address:
        yield place


@asynccontextmanager
async def answering_at_once(answer: bytes) -> AsyncIterator[str]:
    """Runs something that says `answer` to whoever connects, without listening, and hangs up; its host and port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(1)
            writer.write(answer)
            await writer.drain()
        except OSError:
            pass

    async with listening(serve) as address:
        yield address
