"""The stored identity of an event, 12 to 30 bytes: by it, another process or a restarted one recognises the event."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

_HEAD = struct.Struct("<QBB")  # digest, flags, length of the type in bytes
_OWN, _PLACED = 1, 2


class Entry(NamedTuple):
    """An event that `History` has taken in: its identity, and whether it has a place in the chat.

    `placed`: it came after all known events. Otherwise it came in the middle of a replay; it has no place, and is only
    counted.
    """

    type: str
    digest: int
    own: bool
    placed: bool

    def pack(self) -> bytes:
        """The entry as bytes; several can be joined."""
        kind = self.type.encode()
        return _HEAD.pack(self.digest, self.own * _OWN | self.placed * _PLACED, len(kind)) + kind


def unpack(packed: bytes) -> Iterator[Entry]:
    """The entries in joined bytes.

    Raises:
        ValueError: The bytes are no entries, or the last entry is cut off.
    """
    at = 0
    while at < len(packed):
        kind_at = at + _HEAD.size
        if kind_at > len(packed):
            raise ValueError("an entry is cut off")
        digest, flags, length = _HEAD.unpack_from(packed, at)
        at = kind_at + length
        if at > len(packed) or flags > _OWN | _PLACED:
            raise ValueError("not an entry, or it is cut off")
        yield Entry(packed[kind_at:at].decode(), digest, bool(flags & _OWN), bool(flags & _PLACED))
