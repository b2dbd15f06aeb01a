"""The requests that run, so that each can be ended: when its token does, and when the server stops.

What waits for long (streams, waits) would else outlive the token that opened it.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

import anyio
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evi_mcp.access.principals import Principal
from evi_mcp.logs import fields
from evi_mcp.server.callers import PRINCIPAL
from evi_mcp.server.http.answers import busy

IS_STREAM = "evi_mcp.is_stream"
"""The key in the ASGI scope of a request that listens until it is ended."""
GRACE_S = 1.0
"""What a wait has to answer by itself when its token ends."""

_log = logging.getLogger(__name__)


class Running:
    """All requests that run; an ASGI application around another.

    Args:
        refuse: Makes the answer to a request whose token has ended before it was answered.
    """

    def __init__(self, app: ASGIApp, refuse: Callable[[Scope], Response]) -> None:
        self._app = app
        self._refuse = refuse
        self._requests: dict[_Request, None] = {}
        self.served = 0
        """Requests since the start."""

    @property
    def count(self) -> int:
        """How many requests run."""
        return len(self._requests)

    @property
    def streams(self) -> int:
        """How many of them are streams."""
        return sum(request.is_stream for request in self._requests)

    def holders(self) -> list[Principal]:
        """Whose tokens they have shown, each once."""
        return list({request.principal: None for request in self._requests if request.principal is not None})

    def end_of(self, principal: Principal) -> None:
        """Ends the requests that have shown this token."""
        for request in list(self._requests):
            if request.principal == principal:
                request.end(self._refuse(request.scope))

    def end_expired(self) -> None:
        """Ends those whose token has ended."""
        now = time.time()
        for principal in self.holders():
            if principal.expires_at is not None and principal.expires_at + GRACE_S <= now:
                _log.info("a token has ended while in use", extra=fields(**principal.facts))
                self.end_of(principal)

    def end_all(self) -> None:
        """The server stops."""
        for request in list(self._requests):
            request.end(busy("the server is stopping", retry_after=1))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _Request(scope, send)
        self._requests[request] = None
        self.served += 1
        try:
            with request.cut:
                await self._app(scope, receive, request.send)
            if request.cut.cancelled_caught:
                await request.close(receive)
        finally:
            del self._requests[request]


class _Request:
    """One of them. What was begun is ended as HTTP wants it, so that it is no fault for whoever reads it."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope = scope
        self.principal: Principal | None = scope.get(PRINCIPAL)
        self.is_stream: bool = scope.get(IS_STREAM, False)
        self.cut = anyio.CancelScope()
        self._send = send
        self._answer: Any = None
        self._begun = self._whole = False

    def end(self, answer: Response) -> None:
        """It ends now; `answer` is sent if there is none yet."""
        self._answer = answer
        self.cut.cancel()

    async def send(self, message: Message) -> None:
        """As ASGI's `send`."""
        self._begun = True
        self._whole = message["type"] == "http.response.body" and not message.get("more_body", False)
        await self._send(message)

    async def close(self, receive: Receive) -> None:
        """Sends what is missing."""
        if not self._begun:
            await self._answer(self.scope, receive, self._send)
        elif not self._whole:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
