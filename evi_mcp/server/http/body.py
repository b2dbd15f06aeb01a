"""The body of a request: whole, in time and of a size, before anything else looks at it."""

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evi_mcp.server.http.answers import problem

DEADLINE_S = 10.0
MAX_BYTES = 4 * 2**20
BODY = "evi_mcp.body"
"""The key in the ASGI scope under which the body is, as bytes."""


class WholeBody:
    """Reads the body, and answers 413 or 408 where it is too large or does not come."""

    def __init__(self, app: ASGIApp, deadline_s: float = DEADLINE_S) -> None:
        self._app = app
        self._deadline_s = deadline_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        declared = Headers(scope=scope).get("content-length", "")
        body, whole = bytearray(), False
        if not (declared.isdecimal() and int(declared[:12]) > MAX_BYTES):
            with anyio.move_on_after(self._deadline_s) as late:
                while not whole and len(body) <= MAX_BYTES:
                    message = await receive()
                    if message["type"] != "http.request":
                        return  # the client has gone
                    body += message.get("body", b"")
                    whole = not message.get("more_body", False)
            if late.cancelled_caught:
                said = f"the body of the request did not come within {self._deadline_s:g} s"
                await problem(408, said, headers={"Connection": "close"})(scope, receive, send)
                return
        if not whole or len(body) > MAX_BYTES:
            said = f"the body of the request has more than {MAX_BYTES // 2**20} MiB"
            await problem(413, said)(scope, receive, send)  # what still comes is read by uvicorn, and dropped
            return
        rest: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return rest.pop() if rest else await receive()

        await self._app({**scope, BODY: bytes(body)}, replay, send)
