"""EVI's voice in one chat: the audio chunks of its messages, for those who want to listen.

The chunks stay base64 text, because hardly any audio is ever asked for. A message is kept whole or not at all: when
there is no room, whole messages are dropped, the oldest first.
"""

from collections.abc import Callable, Iterator
from enum import Enum

MAX_DROPPED = 500
"""How many ids of dropped messages are remembered, to say that they were dropped and to ignore their later chunks. The
oldest is forgotten first, long after its last chunk."""
OVERHEAD = 500
"""The characters that each chunk counts in addition to its data, so that many small chunks are bounded too."""

_MAX_INDEX = 2**31


class Loss(Enum):
    """Why nothing is kept of a message that had a voice."""

    DROPPED = "dropped"  # to make room for newer messages
    TOO_LONG = "too long"  # longer than the whole buffer


class AudioStore:
    """The newest voices of one chat.

    Args:
        most: The most characters of base64 and overhead; 0 keeps none.
        on_size: Called with each change of the kept size, in bytes.
    """

    def __init__(self, most: int, on_size: Callable[[int], None] = lambda _: None) -> None:
        self.most = most
        self._on_size = on_size
        self.size = 0
        self._voices: dict[str, _Voice] = {}  # by message id, in the order of their first chunks
        self._lost: dict[str, Loss] = {}

    def __iter__(self) -> Iterator[str]:
        """The ids of the messages kept, oldest first."""
        return iter(self._voices)

    def keep(self, message_id: str | None, index: int | None, data: str | None) -> None:
        """Keeps a chunk. Ignores one without a message id, one with a known index, and one of a dropped message.

        Args:
            index: Its place in the message, from 0; without a usable index it goes to the end.
            data: Base64, which is not checked here.
        """
        if not self.most or message_id is None or message_id in self._lost:
            return
        voice = self._voices.setdefault(message_id, _Voice())
        if index is None or not 0 <= index < _MAX_INDEX:
            index = max(voice.chunks, default=-1) + 1
        if index in voice.chunks:
            return
        # Other text is no base64, and could take four bytes a character.
        voice.chunks[index] = data if data is not None and data.isascii() else ""
        grown = OVERHEAD + len(voice.chunks[index])
        voice.size += grown
        self.size += grown
        self._on_size(grown)
        if voice.size > self.most:
            self._drop(message_id, Loss.TOO_LONG)
        while self.size > self.most:
            self.drop()

    def chunks(self, message_id: str) -> list[tuple[int, str]] | None:
        """The chunks of a message so far, as (index, base64) in the order of the indices; `None` if none is kept."""
        voice = self._voices.get(message_id)
        return None if voice is None else sorted(voice.chunks.items())

    def loss(self, message_id: str) -> Loss | None:
        """Why no audio of a message is kept; `None` if none ever came, or its loss is no longer remembered."""
        return self._lost.get(message_id)

    def drop(self) -> bool:
        """Drops the oldest message. Returns whether there was one."""
        if not self._voices:
            return False
        self._drop(next(iter(self._voices)), Loss.DROPPED)
        return True

    def _drop(self, message_id: str, why: Loss) -> None:
        size = self._voices.pop(message_id).size
        self.size -= size
        self._on_size(-size)
        self._lost[message_id] = why  # its later chunks are ignored: the message would not be whole
        if len(self._lost) > MAX_DROPPED:
            del self._lost[next(iter(self._lost))]


class _Voice:
    __slots__ = ("chunks", "size")

    def __init__(self) -> None:
        self.chunks: dict[int, str] = {}
        self.size = 0
