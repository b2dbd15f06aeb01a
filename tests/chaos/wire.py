"""Frames of a WebSocket, as far as a proxy needs them: those of a service, which are neither masked nor fragmented.

RFC 6455, section 5.2. What a client sends is masked, and passes through as bytes.
"""

import asyncio
import json
import struct
from typing import NamedTuple

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
RESERVED = 0x3
"""An opcode that means nothing: whoever gets it has to close with 1002."""


class Frame(NamedTuple):
    """One frame; `raw` is all of it as it came."""

    opcode: int
    payload: bytes
    raw: bytes


async def read_frame(reader: asyncio.StreamReader) -> Frame:
    """The next frame.

    Raises:
        asyncio.IncompleteReadError: The connection has ended.
    """
    head = await reader.readexactly(2)
    length = head[1] & 0x7F
    if length >= 126:
        more = await reader.readexactly(2 if length == 126 else 8)
        head, length = head + more, int.from_bytes(more, "big")
    payload = await reader.readexactly(length)
    return Frame(head[0] & 0x0F, payload, head + payload)


def build(opcode: int, payload: bytes) -> bytes:
    """A frame of a service."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, size)
    elif size < 2**16:
        head = struct.pack("!BBH", 0x80 | opcode, 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 127, size)
    return head + payload


def close(code: int, reason: str = "") -> bytes:
    """A close frame."""
    return build(CLOSE, struct.pack("!H", code) + reason.encode())


BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def bad_bytes(payload: bytes) -> bytes:
    """The payload with a byte that is no UTF-8, as of a service that takes Latin-1 for it."""
    return payload[:-2] + b"\xe9" + payload[-2:]


def damaged(payload: bytes, how: str) -> bytes:
    """The payload of a frame that nobody can read any more."""
    match how:
        case "cut short":
            return payload[: len(payload) // 2]
        case "no JSON":
            return b"\\" + payload
        case "a number for a type":
            return json.dumps({**json.loads(payload), "type": 7}).encode()
        case _:
            return b"[" + payload + b"]"
