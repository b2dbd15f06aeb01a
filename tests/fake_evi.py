"""A second, much smaller EVI for tests: frames by hand, and every misbehaviour that a test asks for.

It shares no code with the simulator or the server, so a mistake in one cannot hide in the other.
"""

import asyncio
import json
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

KEY = "test-key"


class FakeEvi:
    """One service. Tests set what it does, then read what it was sent."""

    def __init__(self) -> None:
        self.base_url = ""
        self.key = KEY
        """The only key accepted."""
        self.history: defaultdict[str, list[str | bytes]] = defaultdict(list)
        self.received: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.sockets: defaultdict[str, list[ServerConnection]] = defaultdict(list)
        self.closes: defaultdict[str, list[int | None]] = defaultdict(list)
        self.refuse: dict[str, int] = {}
        """By chat id: refuse handshakes with this status."""
        self.left_out: set[str] = set()
        """Types that a replay leaves out."""
        self.chats: dict[str, dict[str, Any]] = {}
        """What REST says, by chat id."""
        self.handshakes: list[tuple[str, dict[str, str]]] = []
        self.on_command: Callable[[str, dict[str, Any]], Any] | None = None
        self._changed = asyncio.Event()

    async def push(self, chat_id: str, *frames: str | bytes) -> None:
        """Something happens in the chat: it joins the history and goes to everyone attached."""
        for frame in frames:
            self.history[chat_id].append(frame)
            for socket in self.sockets[chat_id]:
                await socket.send(frame)

    async def close(self, chat_id: str, code: int = 1000, reason: str = "") -> None:
        for socket in list(self.sockets[chat_id]):
            await socket.close(code, reason)

    def cut(self, chat_id: str) -> None:
        """Breaks the connections without a close frame."""
        for socket in list(self.sockets[chat_id]):
            socket.transport.abort()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Waits for something that this service is told."""
        async with asyncio.timeout(10):
            while not condition():
                await self._changed.wait()

    def _note(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        path = unquote(urlsplit(request.path).path)
        self.handshakes.append((request.path, dict(request.headers.raw_items())))
        if request.headers.get("X-Hume-Api-Key") != self.key:
            return connection.respond(HTTPStatus.UNAUTHORIZED, "{}")
        if path == "/v0/evi/chats":
            page = {"page_number": 0, "page_size": 100, "total_pages": 1, "chats_page": list(self.chats.values())}
            return self._json(connection, page)
        if path.startswith("/v0/evi/chats/"):
            chat = self.chats.get(path.rsplit("/", 1)[1])
            return self._json(connection, chat) if chat else connection.respond(HTTPStatus.NOT_FOUND, "{}")
        if status := self.refuse.get(path.split("/")[4]):
            return connection.respond(HTTPStatus(status), "{}")
        return None

    def _json(self, connection: ServerConnection, body: Any) -> Response:
        response = connection.respond(HTTPStatus.OK, json.dumps(body))
        response.headers["Content-Type"] = "application/json"
        return response

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        chat_id = unquote(urlsplit(connection.request.path).path).split("/")[4]
        try:
            for frame in list(self.history[chat_id]):
                if isinstance(frame, bytes) or not any(f'"type": "{kind}"' in frame for kind in self.left_out):
                    await connection.send(frame)
            self.sockets[chat_id].append(connection)
            self._note()
            async for message in connection:
                command = json.loads(message)
                self.received[chat_id].append(command)
                if self.on_command:
                    await self.on_command(chat_id, command)
                self._note()
        except ConnectionClosed:
            pass
        finally:
            if connection in self.sockets[chat_id]:
                self.sockets[chat_id].remove(connection)
            self.closes[chat_id].append(connection.close_code)
            self._note()


@asynccontextmanager
async def fake_evi(context: ssl.SSLContext | None = None) -> AsyncIterator[FakeEvi]:
    evi = FakeEvi()
    async with serve(
        evi._serve,
        "127.0.0.1",
        0,
        process_request=evi._answer,
        max_size=None,
        close_timeout=1,
        compression=None,
        ssl=context,
    ) as server:
        evi.base_url = f"{'https' if context else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield evi
