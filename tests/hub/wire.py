"""Bots and consumers of the hub over real sockets, with a WebSocket client that nobody here wrote."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from evi_mcp.hub import Hub

KEY = "a-long-key"
HEADERS = {"X-Hume-Api-Key": KEY}
Message = dict[str, Any]
GONE = (ConnectionClosed, AttributeError)
"""What the client raises when the hub closes while a large frame is sent: asyncio forgets its loop (`_loop` is `None`)
once a transport that was closing has been flushed, and the library then aborts it."""


@asynccontextmanager
async def hub(**options: Any) -> AsyncIterator[Hub]:
    with anyio.fail_after(30):
        async with Hub(**{"keys": [KEY], **options}) as served:
            yield served


@asynccontextmanager
async def socket(base_url: str | None, path: str, headers: dict[str, str] = HEADERS) -> AsyncIterator[ClientConnection]:
    assert base_url is not None
    address = f"ws{base_url.removeprefix('http')}/v0/evi{path}"
    connection = await connect(
        address, additional_headers=headers, max_size=None, proxy=None, close_timeout=1, compression=None
    )
    try:
        yield connection
    finally:
        with suppress(*GONE):
            await connection.close()


@asynccontextmanager
async def consumer(served: Hub, chat_id: str) -> AsyncIterator[ClientConnection]:
    async with socket(served.base_url, f"/chat/{chat_id}/connect") as connection:
        yield connection


async def until(connection: ClientConnection, type_: str, containing: str = "") -> Message:
    """The next frame of this type."""
    while True:
        frame: Message = json.loads(await connection.recv())
        if frame.get("type") == type_ and containing in json.dumps(frame):
            return frame


async def the_rest(connection: ClientConnection) -> tuple[list[Message], int | None, str]:
    """Everything up to the close, its code and its reason."""
    frames = []
    try:
        while True:
            frames.append(json.loads(await connection.recv()))
    except ConnectionClosed as error:
        return frames, *((error.rcvd.code, error.rcvd.reason) if error.rcvd else (None, ""))


async def eventually(holds: Callable[[], object]) -> None:
    """Returns once something holds of which no client is told."""
    while not holds():  # noqa: ASYNC110
        await anyio.sleep(0.01)


async def lines(connection: ClientConnection, count: int) -> list[str]:
    """The next so many lines of a bot."""
    return [(await until(connection, "assistant_message"))["message"]["content"] for _ in range(count)]


class Bot:
    """A bot as the contract (section 9) has it, by hand."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.welcome: Message = {}
        self.sent = 0

    async def say(self, *messages: Message) -> None:
        for message in messages:
            self.sent += 1
            await self.connection.send(json.dumps({"n": self.sent, "message": message}))

    async def acknowledged(self) -> None:
        """Returns once the hub has everything."""
        while json.loads(await self.connection.recv()).get("ack") != self.sent:
            pass

    async def command(self) -> Message:
        """The next command."""
        while "command" not in (frame := json.loads(await self.connection.recv())):
            pass
        found: Message = frame
        return found

    async def done(self, command: Message) -> None:
        await self.connection.send(json.dumps({"done": command["id"]}))

    def cut(self) -> None:
        """Breaks the connection without a close frame."""
        self.connection.transport.abort()


@asynccontextmanager
async def bot(base_url: str | None, chat_id: str | None = None, **hello: Any) -> AsyncIterator[Bot]:
    """A bot that has dialled in and was welcomed."""
    known = {} if chat_id is None else {"chat_id": chat_id}
    async with socket(base_url, "/link") as connection:
        await connection.send(json.dumps({"type": "hello", "protocol": 1, "source": "custom", **known, **hello}))
        made = Bot(connection)
        made.welcome = await until(connection, "welcome")
        yield made


def resume(former: Bot) -> Message:
    """What a bot that comes back says."""
    return {"chat_id": former.welcome["chat_id"], "token": former.welcome["token"], "sent": former.sent}
