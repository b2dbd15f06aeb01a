"""HTTP/1.1 on one connection: `h11` knows the protocol, this moves its bytes."""

from collections.abc import AsyncGenerator
from http import HTTPStatus

import anyio
import h11
import pydantic_core
from anyio.abc import ByteStream

from evi_mcp.simulator.api import HttpRequest, HttpResponse

MAX_HEAD_BYTES = 64 * 2**10
MAX_BODY_BYTES = 16 * 2**20
"""As large as a message may be (Hume's FAQ states 16 MB)."""

IDLE_TIMEOUT_S = 30.0
"""How long a client may take to send a whole request, the next one on a kept connection too."""

_CHUNK_BYTES = 64 * 2**10


class HttpConnection:
    """Reads requests from a byte stream and writes their answers, one after the other."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._request: h11.Request | None = None

    async def requests(self) -> AsyncGenerator[HttpRequest]:
        """The requests, until the client leaves, is silent for too long, or sends what is not HTTP.

        Each one is to be answered with `respond` before the next is asked for, unless it was an upgrade.
        """
        while True:
            try:
                with anyio.fail_after(IDLE_TIMEOUT_S):
                    request = await self._read()
            except TimeoutError:
                return
            except h11.RemoteProtocolError as error:
                await self._refuse(error.error_status_hint)
                return
            if request is None:
                return
            yield request
            if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
                return
            self._h11.start_next_cycle()

    async def respond(self, response: HttpResponse) -> None:
        """Writes an answer."""
        body = pydantic_core.to_json(response.content)
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        reason = HTTPStatus(response.status).phrase
        data = [self._h11.send(h11.Response(status_code=response.status, headers=headers, reason=reason))]
        if self._request is None or self._request.method != b"HEAD":
            data.append(self._h11.send(h11.Data(data=body)))
        data.append(self._h11.send(h11.EndOfMessage()))
        await self._stream.send(b"".join(filter(None, data)))

    def take_over(self) -> tuple[bytes, bytes]:
        """The bytes of the request just read, and those that came after it: for the protocol that it upgrades to."""
        assert self._request is not None
        head = [b"%b %b HTTP/%b" % (self._request.method, self._request.target, self._request.http_version)]
        head.extend(b"%b: %b" % header for header in self._request.headers)
        return b"\r\n".join([*head, b"", b""]), self._h11.trailing_data[0]

    async def _read(self) -> HttpRequest | None:
        self._request = None
        body = bytearray()
        while True:
            match event := self._h11.next_event():
                case h11.Request():
                    self._request = event
                case h11.Data(data=data):
                    body += data
                    if len(body) > MAX_BODY_BYTES:
                        raise h11.RemoteProtocolError("the body is too large", error_status_hint=413)
                case h11.EndOfMessage():
                    return self._whole_request(bytes(body))
                case h11.NEED_DATA:
                    await self._feed()
                case h11.PAUSED | h11.ConnectionClosed():
                    return None

    async def _feed(self) -> None:
        if self._h11.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            await self._stream.send(self._h11.send(go_on) or b"")
        try:
            data = await self._stream.receive(_CHUNK_BYTES)
        except anyio.EndOfStream:
            data = b""
        self._h11.receive_data(data)

    def _whole_request(self, body: bytes) -> HttpRequest:
        assert self._request is not None
        return HttpRequest(
            method=self._request.method.decode("latin-1"),
            target=self._request.target.decode("latin-1"),
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in self._request.headers},
            body=body,
        )

    async def _refuse(self, status: int) -> None:
        if self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self.respond(HttpResponse(status, {"message": "this is not a request that can be read"}))
