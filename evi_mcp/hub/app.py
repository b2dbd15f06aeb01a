"""The addresses of the hub, as a part of an ASGI app: `/v0/evi/...`.

Paths, queries and answers: Hume's OpenAPI and AsyncAPI references, and docs/hub.md for `/v0/evi/link`. With which
status EVI refuses a handshake on `/connect` is not documented; here it is 404 for a chat that is unknown or over, and
403 without `allow_connection`.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import anyio
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from evi_mcp.clock import Clock
from evi_mcp.hub.chat import HubChat, NotBackYet, TooManyConsumers
from evi_mcp.hub.chats import Chats
from evi_mcp.hub.commands import CommandRefused, NotSupported
from evi_mcp.hub.consumers import Consumer
from evi_mcp.hub.json_frames import Unreadable, read
from evi_mcp.hub.links import Links
from evi_mcp.hub.rest import ChatsQuery, Paging, chat_page, chats_page
from evi_mcp.hub.sockets import Socket, serve_link
from evi_mcp.protocol.codec import MAX_FRAME_BYTES

PREFIX = "/v0/evi"
SOON = {"Retry-After": "1"}

Authorize = Callable[[Mapping[str, str], Mapping[str, str]], bool]
"""Whether a request with these headers (names in lower case) and this query may pass."""

_Query = TypeVar("_Query", bound=BaseModel)
_log = logging.getLogger(__name__)


class Addresses:
    """Answers at the hub's addresses.

    Args:
        chats, links: What is served.
        clock: The time.
        authorize: Who may come in.
        returning_s: For how long from now on a chat that is unknown may be one whose bot is on its way back.
    """

    def __init__(
        self, chats: Chats, links: Links, clock: Clock, authorize: Authorize, returning_s: float = 0.0
    ) -> None:
        self._chats, self._links, self._clock, self._authorize = chats, links, clock, authorize
        self._returning_until = clock.elapsed() + returning_s
        self._sockets = 0
        self._idle = anyio.Event()
        self._closing = False
        self._others: dict[Addresses, ASGIApp] = {}
        self.routes: list[BaseRoute] = [
            WebSocketRoute("/chat/{chat_id}/connect", self._connect),
            WebSocketRoute("/link", self._link),
            Route("/chat/{chat_id}/connect", only_sockets),
            Route("/link", only_sockets),
            Route("/chat/{chat_id}/send", self._send, methods=["POST"]),
            Route("/chats", self._list),
            Route("/chats/{chat_id}", self._show),
        ]
        """Relative to `/v0/evi`; more may be added before `mount` is asked for."""

    def mount(self) -> Mount:
        """Their place in an app, for whoever may come in."""
        return Mount(PREFIX, app=self._guarded(build(self.routes)))

    @contextmanager
    def shared_with(self, other: "Addresses") -> Iterator[None]:
        """While the block runs, whoever may come in to `other` is served by it, at the same place."""
        self._others[other] = other._guarded(build(other.routes))
        try:
            yield
        finally:
            del self._others[other]

    async def drain(self) -> None:
        """From now on nobody is let in; returns when no socket is open any more."""
        self._closing = True
        while self._sockets:
            await self._idle.wait()

    async def serve_consumer(
        self, websocket: WebSocket, consumer: Consumer, receive: Callable[[str | bytes], None]
    ) -> None:
        """Accepts a handshake, and serves the socket until either side ends it.

        Args:
            websocket: Not accepted yet.
            consumer: What it is sent. Whoever attached it detaches it.
            receive: Takes what comes from it.
        """
        with self._counted():
            await (await Socket.accept(websocket, self._clock)).serve(consumer, receive)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._sockets += 1
        try:
            yield
        finally:
            self._sockets -= 1
            if not self._sockets:
                self._idle.set()
                self._idle = anyio.Event()

    def _guarded(self, app: ASGIApp) -> ASGIApp:
        """Asks for the key before anything else is looked at."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            connection = HTTPConnection(scope)
            for other, its_app in self._others.items():
                if other._authorize(connection.headers, connection.query_params):
                    await its_app(scope, receive, send)
                    return
            if not self._authorize(connection.headers, connection.query_params):
                await problem(401, "a valid key is needed in X-Hume-Api-Key")(scope, receive, send)
            elif self._closing:
                await problem(503, "the service is shutting down")(scope, receive, send)
            else:
                await app(scope, receive, send)

        return guarded

    async def _connect(self, websocket: WebSocket) -> None:
        chat = self._chats.live(websocket.path_params["chat_id"])
        if chat is None:
            missing = self._missing(websocket.path_params["chat_id"])
            await deny(websocket, problem(missing.status_code, missing.detail, missing.headers))
            return
        if not chat.facts.allow_connection:
            await deny(websocket, problem(403, "the chat was opened without allow_connection"))
            return
        try:
            consumer = chat.attach()
        except TooManyConsumers:
            await deny(websocket, problem(429, "the chat has as many connections as it takes"))
            return
        except NotBackYet:
            await deny(websocket, problem(503, "the bot is still telling what was said before", SOON))
            return

        def receive(frame: str | bytes) -> None:
            chat.receive(frame, consumer, self._clock.elapsed())

        try:
            await self.serve_consumer(websocket, consumer, receive)
        finally:
            chat.detach(consumer)

    async def _link(self, websocket: WebSocket) -> None:
        link = self._links.connect()
        if link is None:
            await deny(websocket, problem(503, "the hub has as many links as it takes; try again later"))
            return
        with self._counted():
            try:
                socket = await Socket.accept(websocket, self._clock)
            except BaseException:
                self._links.forget(link)
                raise
            await serve_link(socket, link, self._clock)

    async def _send(self, request: Request) -> Response:
        chat = self._live(request)
        try:
            chat.command(read(await body_of(request)), None, self._clock.elapsed())
        except ValidationError as error:
            return JSONResponse({"detail": _detail(error)}, 422)
        except Unreadable as error:
            return JSONResponse({"detail": [{"loc": ["body"], "msg": str(error), "type": "json_invalid"}]}, 422)
        except NotSupported as refusal:
            return JSONResponse({"detail": [{"loc": ["body", "type"], "msg": str(refusal), "type": refusal.slug}]}, 422)
        except CommandRefused as refusal:
            return problem(409, str(refusal))
        return JSONResponse({})

    async def _list(self, request: Request) -> Response:
        return JSONResponse(chats_page(self._chats, _query(ChatsQuery, request)))

    async def _show(self, request: Request) -> Response:
        query = _query(Paging, request)
        chat = self._chats.get(request.path_params["chat_id"])
        if chat is None:
            raise HTTPException(404, "no chat has this id")
        return JSONResponse(chat_page(chat, query))

    def _live(self, request: Request) -> HubChat:
        chat = self._chats.live(request.path_params["chat_id"])
        if chat is None:
            raise self._missing(request.path_params["chat_id"])
        return chat

    def _missing(self, chat_id: str) -> HTTPException:
        """What to say of a chat that is not live. 404 tells its supervisors that it is over, for good."""
        if self._chats.get(chat_id) is None and self._clock.elapsed() < self._returning_until:
            why = "no live chat has this id, but the hub has just started and its bot may be on its way; try again"
            return HTTPException(503, why, SOON)
        return HTTPException(404, "no live chat has this id")


def build(routes: Sequence[BaseRoute]) -> ASGIApp:
    """An app of these routes, whose errors have the shape that Hume documents for a 400."""

    async def failed(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return problem(error.status_code, error.detail, error.headers)
        _log.error("a request failed", exc_info=error)
        return problem(500, "the service failed on this request; see its log")

    app = Starlette(routes=[*routes, WebSocketRoute("/{path:path}", _no_socket)])
    app.router.redirect_slashes = False
    app.add_exception_handler(HTTPException, failed)
    app.add_exception_handler(Exception, failed)
    return app


async def _no_socket(websocket: WebSocket) -> None:
    await deny(websocket, problem(404, "there is no socket at this address"))


async def only_sockets(request: Request) -> Response:
    """The answer of an address that takes WebSockets to any other request."""
    return problem(426, "this address takes WebSocket connections")


def problem(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error in the shape that Hume documents for a 400; which other statuses have it is not documented."""
    return JSONResponse({"code": str(status), "error": "invalid_request", "message": message}, status, headers)


async def deny(websocket: WebSocket, response: Response) -> None:
    """Answers a handshake with something other than 101."""
    await response(websocket.scope, websocket.receive, websocket.send)


async def body_of(request: Request) -> str:
    """The body as text. What is not UTF-8 in it is replaced, and is no JSON any more where that matters.

    Raises:
        HTTPException: It is larger than a message may be, or the client is gone.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_FRAME_BYTES:
                raise HTTPException(413, f"a message has at most {MAX_FRAME_BYTES} bytes")
    except ClientDisconnect:
        raise HTTPException(400, "the body is not complete") from None
    return body.decode("utf-8", "replace")


def _query(model: type[_Query], request: Request) -> _Query:
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        first = error.errors()[0]
        raise HTTPException(400, f"{first['loc'][0]}: {first['msg']}") from None


def _detail(error: ValidationError) -> list[dict[str, Any]]:
    """Problems as Hume's 422 lists them. Their `loc` begins with the type of the message here, which is left out."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return [{"loc": ["body", *item["loc"][1:]], "msg": item["msg"], "type": item["type"]} for item in problems]
