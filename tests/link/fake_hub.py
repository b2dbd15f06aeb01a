"""A hub for tests, by the contract (section 9) alone: it shares no code with the real one, so that a mistake in one
cannot hide here.

It can be killed and started again on its port, forget its chats, stop reading, withhold acknowledgements, cut lines.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from itertools import count
from typing import Any
from uuid import uuid4

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

KEY = "test-hub-key"
MAX_FRAME = 16 * 1024 * 1024


class FakeChat:
    """What a hub keeps of one chat."""

    def __init__(self) -> None:
        self.token = uuid4().hex
        self.received = 0
        self.log: list[dict[str, Any]] = []
        self.hellos: list[dict[str, Any]] = []
        self.outcomes: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.ended: str | None = None
        self.socket: ServerConnection | None = None
        self.refused_numbers: list[int] = []

    def texts(self, type_: str = "user_message") -> list[str]:
        """What was said, in messages of this type that are final."""
        return [m["message"]["content"] for m in self.of(type_) if not m.get("interim")]

    def of(self, type_: str) -> list[dict[str, Any]]:
        return [message for message in self.log if message["type"] == type_]


class FakeHub:
    """One hub. Tests set what it does, then read what it was told."""

    def __init__(self) -> None:
        self.port = 0
        self.chats: dict[str, FakeChat] = {}
        self.keys: list[str | None] = []
        self.ack_every = 1
        """0: it acknowledges nothing."""
        self.reads = asyncio.Event()
        self.reads.set()
        self.on_welcome: Callable[[ServerConnection], Any] | None = None
        self._ids = count(1)
        self._server: Server | None = None
        self._changed = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listens, on the same port as before."""
        for _ in range(100):
            try:
                self._server = await serve(
                    self._serve,
                    "127.0.0.1",
                    self.port,
                    process_request=self._check,
                    max_size=MAX_FRAME,
                    close_timeout=1,
                )
                break
            except OSError:
                await asyncio.sleep(0.05)  # the port is still being given back
        assert self._server is not None
        self.port = self._server.sockets[0].getsockname()[1]

    async def kill(self) -> None:
        """Is gone at once, without a goodbye."""
        assert self._server is not None
        self._server.close(close_connections=False)
        for chat in self.chats.values():
            self.cut(chat)
        await self._server.wait_closed()
        self._server = None

    def forget(self) -> None:
        """What a restart without a store does."""
        self.chats = {}

    def cut(self, chat: FakeChat) -> None:
        if chat.socket is not None:
            chat.socket.transport.abort()

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Waits for something that this hub is told, or that the link comes to know, and returns it."""
        async with asyncio.timeout(20):
            while not (value := condition()):
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.01):  # the link tells nobody of its state
                        await self._changed.wait()
        return value

    async def chat(self, chat_id: str | None = None) -> FakeChat:
        """A chat that has dialled in; the only one if no id is given."""
        found = await self.until(lambda: self.chats.get(chat_id) if chat_id else next(iter(self.chats.values()), None))
        assert isinstance(found, FakeChat)
        return found

    async def send(self, chat: FakeChat, type_: str, *, id_: str | None = None, **fields: Any) -> str:
        """Sends a command; returns its id."""
        id_ = id_ or f"c{next(self._ids)}"
        assert chat.socket is not None
        await chat.socket.send(json.dumps({"command": {"type": type_, **fields}, "id": id_}))
        return id_

    async def command(self, chat: FakeChat, type_: str, *, id_: str | None = None, **fields: Any) -> str | None:
        """Sends a command and waits for its outcome; returns why it was refused, or `None`."""
        id_ = await self.send(chat, type_, id_=id_, **fields)
        await self.until(lambda: chat.outcomes[id_])
        reason = chat.outcomes[id_][0].get("reason")
        return None if reason is None else str(reason)

    def _note(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _check(self, connection: ServerConnection, request: Request) -> Response | None:
        self.keys.append(request.headers.get("X-Hume-Api-Key"))
        if request.path != "/v0/evi/link":
            return connection.respond(HTTPStatus.NOT_FOUND, "")
        return None if self.keys[-1] == KEY else connection.respond(HTTPStatus.UNAUTHORIZED, "")

    async def _serve(self, socket: ServerConnection) -> None:
        try:
            await self._talk(socket)
        except ConnectionClosed:
            pass
        finally:
            self._note()

    async def _talk(self, socket: ServerConnection) -> None:
        hello = json.loads(await socket.recv())
        assert hello["type"] == "hello" and hello["protocol"] == 1
        chat = self.chats.get(hello["chat_id"])
        if (resume := hello.get("resume")) and (chat is None or chat.token != resume["token"]):
            await socket.send(json.dumps({"type": "goodbye", "reason": "this hub does not know the chat"}))
            return
        if not resume and chat is not None:
            await socket.send(json.dumps({"type": "goodbye", "reason": "the chat id is in use"}))
            return
        if chat is None:
            chat = self.chats[hello["chat_id"]] = FakeChat()
        chat.hellos.append(hello)
        self._note()
        if chat.ended is not None:
            await socket.send(json.dumps({"type": "goodbye", "reason": "the chat is over"}))
            return
        welcome = {"type": "welcome", "chat_id": hello["chat_id"], "token": chat.token, "received": chat.received}
        await socket.send(json.dumps(welcome))
        chat.socket = socket
        if self.on_welcome:
            await self.on_welcome(socket)
        while True:
            await self.reads.wait()
            await self._take(chat, json.loads(await socket.recv()))
            self._note()
            if chat.ended is not None:
                await socket.send(json.dumps({"type": "goodbye", "reason": "the chat is over"}))
                return

    async def _take(self, chat: FakeChat, frame: dict[str, Any]) -> None:
        assert chat.socket is not None
        if "n" in frame:
            if frame["n"] == chat.received + 1:
                chat.received += 1
                chat.log.append(frame["message"])
            else:
                chat.refused_numbers.append(frame["n"])
            if self.ack_every and chat.received % self.ack_every == 0:
                await chat.socket.send(json.dumps({"ack": chat.received}))
        elif "done" in frame or "refused" in frame:
            chat.outcomes[frame.get("done") or frame["refused"]].append(frame)
        elif frame.get("type") == "end":
            chat.ended = frame.get("reason")


@asynccontextmanager
async def fake_hub(**settings: Any) -> AsyncIterator[FakeHub]:
    hub = FakeHub()
    for name, value in settings.items():
        setattr(hub, name, value)
    await hub.start()
    try:
        yield hub
    finally:
        hub.reads.set()
        if hub._server is not None:
            await hub.kill()
