"""The service that knows what happened. It plays each chat to whoever attaches: all of its history, then what follows.

One number tells a proxy where the history ends (`HISTORY`, a header of the answer to the handshake); EVI has none such,
and the server under test does not look at it.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.chaos.talk import Talk

HISTORY = "X-History-Frames"


class Truth:
    """All chats of one service. `pace` is the mean time between two happenings of a chat, in seconds."""

    def __init__(self, seed: object, chat_ids: Iterable[str] = (), *, pace: float = 0.25) -> None:
        self.port = 0
        self.chats: dict[str, Talk] = {}
        self._seed, self._pace = seed, pace
        self._news: dict[str, asyncio.Event] = {}
        self._speakers: dict[str, asyncio.Task[None]] = {}
        for chat_id in chat_ids:
            self.add(chat_id)

    def add(self, chat_id: str) -> Talk:
        """A chat begins; it says nothing until `speak`."""
        self._news[chat_id] = asyncio.Event()
        talk = self.chats[chat_id] = Talk(chat_id, self._seed)
        return talk

    def remove(self, chat_id: str) -> None:
        """The chat is over: it is forgotten, and whoever is attached is told with 1000."""
        self._hush(chat_id)
        del self.chats[chat_id]
        self._tell(chat_id)
        del self._news[chat_id]

    def speak(self, *chat_ids: str) -> None:
        """From now on things happen in these chats, of themselves."""
        for chat_id in chat_ids:
            self._speakers[chat_id] = asyncio.create_task(self._speak(self.chats[chat_id]))

    def hush(self) -> None:
        """From now on nothing happens but what commands bring."""
        for chat_id in list(self._speakers):
            self._hush(chat_id)

    def speak_up(self, chat_id: str) -> str:
        """EVI speaks, now; the id of its message."""
        message_id = self.chats[chat_id].speak_up()
        self._tell(chat_id)
        return message_id

    def happen(self, chat_id: str, *made: str) -> None:
        """These things happen now."""
        self.chats[chat_id].history.extend(made)
        self._tell(chat_id)

    async def news(self, chat_id: str) -> None:
        """Returns when something has happened in the chat."""
        await self._news[chat_id].wait()

    def _hush(self, chat_id: str) -> None:
        if speaker := self._speakers.pop(chat_id, None):
            speaker.cancel()

    async def _speak(self, talk: Talk) -> None:
        rate = random.Random(f"{self._seed}/{talk.chat_id}/pace")
        while True:
            await asyncio.sleep(rate.expovariate(1 / self._pace))
            talk.go_on()
            self._tell(talk.chat_id)

    def _tell(self, chat_id: str) -> None:
        news, self._news[chat_id] = self._news[chat_id], asyncio.Event()
        news.set()

    def _refuse(self, connection: ServerConnection, request: Request) -> Response | None:
        return None if _chat_id(request) in self.chats else connection.respond(404, "{}")

    def _mark(self, connection: ServerConnection, request: Request, response: Response) -> None:
        if talk := self.chats.get(_chat_id(request)):
            response.headers[HISTORY] = str(len(talk.history))

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        talk = self.chats.get(_chat_id(connection.request))
        if talk is None:
            return
        listener = asyncio.create_task(self._listen(connection, talk))
        sent = 0
        try:
            while self.chats.get(talk.chat_id) is talk:
                news = self._news[talk.chat_id]
                while sent < len(talk.history):
                    sent += 1
                    await connection.send(talk.history[sent - 1])
                await _either(news, listener)
                if listener.done():
                    return
        except ConnectionClosed:
            pass
        finally:
            listener.cancel()

    async def _listen(self, connection: ServerConnection, talk: Talk) -> None:
        try:
            async for message in connection:
                command: dict[str, Any] = json.loads(message)
                talk.take(command)
                self._tell(talk.chat_id)
        except ConnectionClosed:
            pass


async def _either(news: asyncio.Event, listener: asyncio.Task[None]) -> None:
    """Returns when there is news, or nobody listens any more."""
    waiter = asyncio.create_task(news.wait())
    try:
        await asyncio.wait((waiter, listener), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()


def _chat_id(request: Request) -> str:
    """The id in `/v0/evi/chat/{chat_id}/connect`."""
    parts = unquote(urlsplit(request.path).path).split("/")
    return parts[4] if len(parts) == 6 and parts[3] == "chat" else ""


@asynccontextmanager
async def telling(truth: Truth) -> AsyncIterator[Truth]:
    """Serves it on a port of its own."""
    async with serve(
        truth._serve,
        "127.0.0.1",
        0,
        process_request=truth._refuse,
        process_response=truth._mark,
        max_size=None,
        close_timeout=1,
        ping_interval=None,
        compression=None,
    ) as server:
        truth.port = server.sockets[0].getsockname()[1]
        try:
            yield truth
        finally:
            truth.hush()
