"""A service that speaks WebSocket by hand, so that it can do what no library lets it: broken text, endless frames,
pings without end, silence."""

import asyncio
import base64
import hashlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pydantic import SecretStr

from evi_mcp.upstream.transport import Transport
from evi_mcp.upstream.websocket import WebSocketConnector

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(opcode: int, data: bytes, *, fin: bool = True, length: int | None = None) -> bytes:
    """A frame as it stands on the wire; `length` is what its header claims, by default the truth."""
    size = len(data) if length is None else length
    head = bytes([opcode | (0x80 if fin else 0)])
    if size < 126:
        return head + bytes([size]) + data
    return head + (b"\x7e" + struct.pack("!H", size) if size < 2**16 else b"\x7f" + struct.pack("!Q", size)) + data


def text(said: str) -> bytes:
    return frame(TEXT, said.encode())


def fragments(data: bytes, each: int, opcode: int = TEXT) -> Iterator[bytes]:
    """A message in frames of so many bytes."""
    for start in range(0, len(data), each):
        last = start + each >= len(data)
        yield frame(opcode if start == 0 else CONT, data[start : start + each], fin=last)


@dataclass
class Peer:
    """The service's end of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    headers: dict[str, str]

    def stop_reading(self) -> None:
        """From now on nothing is read, not even by the stream itself."""
        self._transport.pause_reading()

    def read_on(self) -> None:
        self._transport.resume_reading()

    @property
    def _transport(self) -> asyncio.Transport:
        transport = self.writer.transport
        assert isinstance(transport, asyncio.Transport)
        return transport

    async def send(self, *data: bytes) -> None:
        for piece in data:
            self.writer.write(piece)
            await self.writer.drain()

    async def next_frame(self) -> tuple[int, bytes]:
        """The opcode and payload of the next frame of the client, which masks them."""
        first, second = await self.reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
        key = await self.reader.readexactly(4)
        data = await self.reader.readexactly(size)
        masking = int.from_bytes((key * (size // 4 + 1))[:size])
        return first & 0x0F, (int.from_bytes(data) ^ masking).to_bytes(size)

    async def next_text(self) -> str:
        """The next text frame; pings are answered on the way."""
        while True:
            opcode, data = await self.next_frame()
            if opcode == PING:
                await self.send(frame(PONG, data))
            if opcode == TEXT:
                return data.decode()


@asynccontextmanager
async def serving(play: Callable[[Peer], Awaitable[None]], *, receive_buffer: int | None = None) -> AsyncIterator[str]:
    """A service that does this on every connection and then hangs up; its base URL.

    Args:
        receive_buffer: Bytes that the system takes in for it while it does not read; by default what the system likes.
    """
    running: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(task := asyncio.create_task(serve(reader, writer)))
        task.add_done_callback(running.discard)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)
            }
            accept = base64.b64encode(hashlib.sha1(headers["sec-websocket-key"].encode() + _GUID).digest()).decode()
            writer.write(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
            )
            await play(Peer(reader, writer, headers))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = socket.create_server(("127.0.0.1", 0))
    if receive_buffer is not None:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    server = await asyncio.start_server(connected, sock=listening, limit=2**16)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.close()
        for task in tuple(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def connected_to(base_url: str) -> Transport:
    return await WebSocketConnector(base_url, SecretStr("test-key")).connect("chat-1")
