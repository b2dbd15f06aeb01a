"""A service that repeats the key wherever it can: in statuses, headers, bodies, frames and reasons."""

import json
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests import frames

KEY = "hk/9fQ2+zW7xV4bN8mK1jH5gT3rE6yU0iO-pL_sDcAa=="
NAMED = "sk-named-7Yt5Rr3Ee1Ww9Qq8Pp6Oo4Ii2Uu0"
TOKEN = "at-5Xx4Zz3Cc2Vv1Bb0Nn9Mm8Ll7Kk6Jj5"
SECRETS = (KEY, NAMED, TOKEN)

STATUSES = (301, 302, 307, 308, 400, 401, 403, 404, 408, 410, 418, 429, 500, 503)
CLOSES = (1000, 1001, 1008, 1011, 4001)
FRAMES: tuple[str | bytes, ...] = (
    frames.metadata().replace("group-1", KEY),
    frames.user(f"my key is {KEY}", 100, scores={KEY: 0.9, "x" * 20 + NAMED: 0.8}),
    frames.assistant(NAMED, KEY),
    frames.prosody(KEY, **{KEY: 0.5}),
    frames.audio(KEY),
    frames.tool_call(KEY, KEY, json.dumps({"key": KEY, "named": NAMED}).replace("/", "\\/")),
    frames.tool_response(KEY, KEY),
    frames.tool_error(KEY, NAMED),
    frames.settings(
        language_model_api_key=TOKEN, metadata={"access_token": TOKEN, KEY: KEY}, variables={"authorization": TOKEN}
    ),
    frames.frame("granted", access_token=TOKEN, url=f"wss://x/?api_key={KEY}", nested=[{"token": TOKEN}]),
    frames.frame("x" * 250 + KEY),
    frames.error(KEY, NAMED, f"bad key {KEY}"),
    f"no JSON but {KEY}",
    f"binary {KEY}".encode(),
)

_logger = logging.getLogger("leaky")
_logger.setLevel(logging.CRITICAL)  # its own log is none of what is looked at, and full of the key


def found_in(text: str, secrets: Iterable[str] = SECRETS, window: int = 12) -> list[str]:
    """The parts of secrets, of this many characters, that stand in the text, plain or as JSON escapes them."""
    text = text.replace("\\/", "/")
    return [
        part
        for secret in secrets
        for part in (secret[at : at + window] for at in range(len(secret)))
        if part in text and len(part) == window
    ]


class Leaky:
    """What it does to a chat is said by the chat's id: `status-403`, `close-1011`, `huge`, `cut`; else it talks."""

    def __init__(self) -> None:
        self.base_url = ""
        self.rest: int | str = 200
        """The status with which REST is answered, or a body."""
        self.asked: list[str] = []
        self.received: list[dict[str, Any]] = []

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        self.asked.append(request.path)
        path = request.path.split("?")[0]
        if path.endswith("/connect"):
            what, _, number = path.split("/")[4].partition("-")
            return self._response(int(number), KEY) if what == "status" else None
        if isinstance(self.rest, str):
            return self._response(200, self.rest)
        chat = {"id": KEY, "chat_group_id": NAMED, "status": "ACTIVE", "start_timestamp": 1762430100123, "key": KEY}
        if path != "/v0/evi/chats":
            return self._response(self.rest, json.dumps({"id": "x", "status": f"{'x' * 60}{KEY}"}))
        return self._response(self.rest, json.dumps({"total_pages": 1, "chats_page": [chat, {**chat, "id": "c-9"}]}))

    def _response(self, status: int, body: str) -> Response:
        data = body.encode()
        length = str(len(data))
        headers = Headers(Location=f"http://127.0.0.1:9/?{KEY}", Echo=KEY, Connection="close")
        headers["Content-Length"] = length
        return Response(status, f"Bad {KEY}", headers, data)

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        what, _, number = connection.request.path.split("/")[4].partition("-")
        try:
            for frame in FRAMES:
                await connection.send(frame)
            if what == "close":
                await connection.close(int(number), KEY)
            elif what == "huge":
                await connection.send(KEY * (17 * 2**20 // len(KEY)))
            elif what == "cut":
                connection.transport.abort()
            async for message in connection:
                command = json.loads(message)
                self.received.append(command)
                await connection.send(frames.settings(**{k: v for k, v in command.items() if k != "type"}))
                if what == "maybe":
                    connection.transport.abort()
        except ConnectionClosed:
            pass


@asynccontextmanager
async def leaking() -> AsyncIterator[Leaky]:
    leaky = Leaky()

    def echo(connection: ServerConnection, request: Request, response: Response) -> Response:
        response.headers["Echo"] = KEY
        return response

    async with serve(
        leaky._serve,
        "127.0.0.1",
        0,
        process_request=leaky._answer,
        process_response=echo,
        max_size=None,
        close_timeout=1,
        compression=None,
        logger=_logger,
    ) as server:
        leaky.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield leaky
