"""The sockets of the simulator: one task for each connection, which speaks HTTP and perhaps becomes a WebSocket.

`websockets` has a server of its own, but it reads no request with a body, and `POST /send` is on the same port
as the sockets; so its protocol without I/O is used here.
"""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, Protocol

import anyio
from anyio.abc import ByteStream
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from evi_mcp.protocol.codec import MAX_FRAME_BYTES
from evi_mcp.simulator.api import Admission, Api, HttpRequest, HttpResponse
from evi_mcp.simulator.http1 import HttpConnection
from evi_mcp.simulator.recording import Close

SLOW_READER_S = 20.0
"""How long a client may leave its frames unread before it is closed with 1013."""

CLOSE_TIMEOUT_S = 1.0
"""How long a client may take to answer a close."""

GOING_AWAY: Final = 1001
INVALID_DATA: Final = 1007
TRY_AGAIN_LATER: Final = 1013

_CHUNK_BYTES = 64 * 2**10
_DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)
_GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)

# At DEBUG the library writes every header, and so the key, to its log.
_library_logger = logging.getLogger("evi_mcp.simulator.socket")
_library_logger.setLevel(logging.WARNING)
_logger = logging.getLogger(__name__)


class Live(Protocol):
    """A chat that is being played, as connections see it."""

    @property
    def changed(self) -> anyio.Event:
        """Set at the next change; a new one each time."""

    def wake(self) -> None:
        """Lets every connection of the chat look for something to send."""


class Front:
    """Serves connections.

    Args:
        api: Answers requests and admits sockets.
        clock: Seconds since the service started.
        play: Given an admitted chat, makes sure that it is played, and returns it.
    """

    def __init__(self, api: Api, clock: Callable[[], float], play: Callable[[Admission], Live]) -> None:
        self._api = api
        self._clock = clock
        self._play = play

    async def serve(self, stream: ByteStream) -> None:
        """One connection, to its end. Nothing that a client does gets out of here as an exception."""
        try:
            async with stream:
                await self._converse(stream)
        except* _GONE:
            pass
        except* Exception:
            _logger.exception("a connection failed")

    async def _converse(self, stream: ByteStream) -> None:
        http = HttpConnection(stream)
        async with aclosing(http.requests()) as requests:
            async for request in requests:
                if "websocket" not in request.headers.get("upgrade", "").lower():
                    await http.respond(self._api.answer(request, self._clock()))
                    continue
                # Asked before a chat is opened, which must not stay behind if the handshake is none.
                socket = WebSocket(stream, *http.take_over())
                answer = self._admit(request) if socket.acceptable else None
                if isinstance(answer, HttpResponse):
                    await http.respond(answer)
                    continue
                await socket.accept()
                if answer is not None:
                    await Connection(socket, answer, self._play(answer), self._clock).run()
                return

    def _admit(self, request: HttpRequest) -> Admission | HttpResponse:
        return self._api.admit(request, self._clock())


class Connection:
    """An admitted socket: what it sends goes to the chat, what happens in the chat goes to it."""

    def __init__(self, socket: "WebSocket", admission: Admission, live: Live, clock: Callable[[], float]) -> None:
        self._socket = socket
        self._chat = admission.chat
        self._attachment = admission.attachment
        self._live = live
        self._clock = clock

    async def run(self) -> None:
        """Until either side ends it."""
        try:
            async with anyio.create_task_group() as both:
                both.start_soon(self._write, both.cancel_scope)
                await self._read()
                both.cancel_scope.cancel()
        except anyio.get_cancelled_exc_class():
            await self._socket.close(Close(GOING_AWAY, "the service is shutting down"))
            raise
        finally:
            self._chat.detach(self._attachment, self._clock())

    async def _read(self) -> None:
        async with aclosing(self._socket.messages()) as messages:
            async for message in messages:
                self._chat.receive(message, self._attachment, self._clock())
                self._live.wake()

    async def _write(self, scope: anyio.CancelScope) -> None:
        while True:
            changed = self._live.changed
            close = self._attachment.close
            if frames := self._attachment.take():
                with anyio.move_on_after(SLOW_READER_S) as reading:
                    await self._socket.send(frames)
                if reading.cancelled_caught:
                    close = Close(TRY_AGAIN_LATER, "frames are not read")
            elif close is None and self._chat.ended is not None:
                close = self._chat.ended.close
            if close is not None:
                await self._socket.close(close)
                break
            if not frames:
                await changed.wait()
        await anyio.sleep(CLOSE_TIMEOUT_S)  # the reader ends as soon as the client answers
        scope.cancel()


class WebSocket:
    """A WebSocket on a byte stream, from the side of the server.

    Args:
        stream: Not closed from here.
        handshake: The bytes of the request.
        early: What came right after it.
    """

    def __init__(self, stream: ByteStream, handshake: bytes, early: bytes) -> None:
        self._stream = stream
        self._protocol = ServerProtocol(max_size=MAX_FRAME_BYTES, logger=_library_logger)
        self._sending = anyio.Lock()
        self._protocol.receive_data(handshake)
        request = next((event for event in self._protocol.events_received() if isinstance(event, Request)), None)
        self._response = self._protocol.accept(request) if request is not None else None
        self._early = early
        self._closing = False

    @property
    def acceptable(self) -> bool:
        """Whether the handshake is a proper one."""
        return self._response is not None and self._response.status_code == 101

    async def accept(self) -> None:
        """Answers the handshake, with what is wrong with it if it is not a proper one."""
        if self._response is not None:
            self._protocol.send_response(self._response)
        if self._protocol.state is State.OPEN:
            self._protocol.receive_data(self._early)
        await self._flush()

    async def messages(self) -> AsyncGenerator[str | bytes]:
        """The messages, whole, until the connection is closed by either side or breaks. Pings are answered here."""
        parts: list[bytes] = []
        text = True
        while True:
            for frame in self._protocol.events_received():
                if not isinstance(frame, Frame) or frame.opcode not in _DATA:
                    continue
                if frame.opcode is not Opcode.CONT:
                    text = frame.opcode is Opcode.TEXT
                parts.append(bytes(frame.data))
                if not frame.fin:
                    continue
                message = b"".join(parts)
                parts.clear()
                if self._closing:
                    continue
                try:
                    yield message.decode() if text else message
                except UnicodeDecodeError:
                    self._protocol.fail(INVALID_DATA, "text that is not UTF-8")
                    self._closing = True
            await self._flush()
            if self._protocol.close_rcvd is not None:
                return
            try:
                if self._protocol.eof_sent:  # what came broke the protocol, and the client has been told
                    await self._linger()
                    return
                self._protocol.receive_data(await self._stream.receive(_CHUNK_BYTES))
            except _GONE:
                return

    async def send(self, frames: list[str]) -> None:
        """Sends text frames; returns when the client's side has taken them."""
        if self._protocol.state is not State.OPEN:
            return
        for frame in frames:
            self._protocol.send_text(frame.encode())
        await self._flush()

    async def close(self, close: Close) -> None:
        """Begins to close, in no more time than a client may take for it, even if this task is cancelled."""
        self._closing = True
        if self._protocol.state is not State.OPEN:
            return
        self._protocol.send_close(close.code, close.reason)
        with anyio.move_on_after(CLOSE_TIMEOUT_S / 4, shield=True):
            try:
                await self._flush()
            except _GONE:
                pass

    async def _linger(self) -> None:
        """Reads to the end: closing with unread bytes would reset the connection, and lose the close frame."""
        with anyio.move_on_after(CLOSE_TIMEOUT_S):
            await self._stream.send_eof()
            while True:
                await self._stream.receive(_CHUNK_BYTES)

    async def _flush(self) -> None:
        async with self._sending:
            data = b"".join(self._protocol.data_to_send())  # an end of the stream is b"": whoever owns it closes it
            if data:
                await self._stream.send(data)
