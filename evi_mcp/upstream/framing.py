"""Turns WebSocket frames into whole messages, so that no message ends its connection.

`websockets` closes a connection at a message that is too long (1009), has too many fragments (1009), or is text but not
UTF-8 (1007). EVI replays the history on every connection, so one such message would close every later one too. Here a
message comes whole and as bytes; a message that is too long is skipped while it arrives, and a fault takes its place.

`ClientProtocol` runs without a limit, and reads from a `StreamReader` that skips long payloads and can pause.
"""

import hashlib
import math
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from websockets.client import ClientProtocol
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.streams import StreamReader
from websockets.typing import LoggerLike
from websockets.uri import WebSocketURI

from evi_mcp.protocol.codec import MAX_FRAME_BYTES
from evi_mcp.protocol.messages import ProtocolFault

FRAMES_AT_ONCE = 1000
"""How many frames are read before other tasks get a turn: a flood of tiny ones would block the event loop for a
second."""

MAX_CONTROL_BYTES = 125
"""The longest payload of a ping or pong (RFC 6455, section 5.5); headers of frames are shorter too."""

_SKIPPED = bytes(MAX_CONTROL_BYTES + 1)  # in place of a long payload; too long for a control frame, so refused there


class Arrived(NamedTuple):
    """A message as it came: text, perhaps not UTF-8, or binary. For a message that was too long `data` is empty, and
    `fault` stands for it."""

    is_text: bool
    data: bytes | bytearray | memoryview
    fault: ProtocolFault | None = None


class MessageProtocol(ClientProtocol):
    """A `ClientProtocol` that gives whole messages (`messages_received`) instead of data frames.

    It answers no ping: `newest_ping` is the payload of the last ping, `None` once it was answered. `newest_pong` is the
    payload of the last pong.
    """

    def __init__(self, uri: WebSocketURI, *, logger: LoggerLike, most: int = MAX_FRAME_BYTES) -> None:
        self.newest_ping: bytes | None = None
        self.newest_pong: bytes | None = None
        self._most = most
        self._message = _Message(most)
        self._is_fragmented = False
        self._messages: list[Arrived] = []
        super().__init__(uri, max_size=None, logger=logger)

    def parse(self) -> Generator[None]:
        self.bounded_reader = self.reader = BoundedReader(self._most, self._skip)
        yield from super().parse()

    def messages_received(self) -> list[Arrived]:
        """The messages that have become complete since the last call, in order."""
        messages, self._messages = self._messages, []
        return messages

    @property
    def is_in_message(self) -> bool:
        """Whether a part of a message has arrived and the rest is still to come."""
        return self._message.size > 0 or self.bounded_reader.wanted > MAX_CONTROL_BYTES

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.TEXT and frame.fin and not self._is_fragmented and frame.data is not _SKIPPED:
            self._messages.append(Arrived(True, frame.data))  # the usual case: whole, and in order
        elif frame.opcode is Opcode.PING:
            self.newest_ping = bytes(frame.data)
        elif frame.opcode is Opcode.PONG:
            self.newest_pong = bytes(frame.data)
        else:
            super().recv_frame(frame)  # which checks the order
            if frame.opcode in DATA_OPCODES:
                self.events.pop()
                self._take_in(frame)

    def _skip(self, piece: bytearray) -> None:
        self._message.add(piece)

    def _take_in(self, frame: Frame) -> None:
        if frame.opcode is not Opcode.CONT:
            self._message.is_text = frame.opcode is Opcode.TEXT
        if frame.data is not _SKIPPED:
            self._message.add(frame.data)
        self._is_fragmented = not frame.fin
        if frame.fin:
            self._messages.append(self._message.whole())
            self._message = _Message(self._most)


class BoundedReader(StreamReader):
    """A `StreamReader` that skips a payload of more than `most` bytes while it arrives, passing the pieces to `skip`,
    and pauses before the next frame once `frames_left` is used up."""

    def __init__(self, most: int, skip: Callable[[bytearray], None]) -> None:
        super().__init__()
        self.frames_left: float = math.inf
        self.is_resting = False
        self.wanted = 0
        """How many bytes the current read waits for; 0 between frames."""
        self._most, self._skip = most, skip

    def at_eof(self) -> Generator[None, None, bool]:
        self.wanted = 0
        if self.frames_left <= 0:
            return self._rest()
        self.frames_left -= 1
        return super().at_eof()

    def read_exact(self, n: int) -> Generator[None, None, Any]:
        self.wanted = n
        return super().read_exact(n) if n <= self._most else self._skip_exact(n)

    def _rest(self) -> Generator[None, None, bool]:
        self.is_resting = True
        while self.frames_left <= 0:
            yield
        self.is_resting = False
        return (yield from self.at_eof())

    def _skip_exact(self, n: int) -> Generator[None, None, bytes]:
        while n > 0:
            while not self.buffer:
                if self.eof:
                    raise EOFError("stream ends in a message that is too long")
                yield
            piece = self.buffer[:n]
            del self.buffer[:n]
            n -= len(piece)
            self._skip(piece)
        return _SKIPPED


class _Message:
    """A message whose frames are arriving. Of a message that is too long it keeps only the size and a digest."""

    def __init__(self, most: int) -> None:
        self.is_text = False
        self.size = 0
        self._most = most
        self._data = bytearray()
        self._digest: hashlib.blake2b | None = None

    def add(self, data: bytes | bytearray | memoryview) -> None:
        self.size += len(data)
        if self._digest is not None:
            self._digest.update(data)
        elif self.size <= self._most:
            self._data += data
        else:
            self._digest = hashlib.blake2b(self._data, digest_size=8)
            self._digest.update(data)
            self._data = bytearray()

    def whole(self) -> Arrived:
        if self._digest is None:
            return Arrived(self.is_text, self._data)
        fault = ProtocolFault(
            reason=f"too long, more than {self._most} bytes",
            size=self.size,
            binary=not self.is_text,
            digest=int.from_bytes(self._digest.digest()),
        )
        return Arrived(self.is_text, b"", fault)
