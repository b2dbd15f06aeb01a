"""EVI's voice in one chat: the chunks of its messages as they came, for whoever wants to listen.

Kept as the base64 text of the frames, for hardly any of it is ever asked for. What is kept of a message is all that
came of it; when there is no room, whole messages go, the oldest first.
"""

from collections.abc import Callable, Iterator
from enum import Enum

MAX_DROPPED = 500
"""Ids of dropped messages that are remembered, to tell so and to take in no more of them; the oldest is forgotten
first, long after EVI has said its last word of it."""
OVERHEAD = 500
"""Characters that a chunk counts for besides its data, so that many small ones are bounded too."""

_MAX_INDEX = 2**31


class Loss(Enum):
    """Why nothing is kept of a message that had a voice."""

    DROPPED = "dropped"  # to make room for newer ones
    TOO_LONG = "too long"  # for all the room there is


class AudioStore:
    """The newest voices of one chat.

    Args:
        most: In characters of base64 and overhead; 0 keeps none.
        on_size: Told by how many bytes more, or fewer, are kept.
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
        """Takes in a chunk. One whose index is known already is ignored; so is one that no message could claim.

        Args:
            index: Its place in the message, from 0; `None`, or an absurd one, puts it last.
            data: Base64, which is not checked here.
        """
        if not self.most or message_id is None or message_id in self._lost:
            return
        voice = self._voices.setdefault(message_id, _Voice())
        if index is None or not 0 <= index < _MAX_INDEX:
            index = max(voice.chunks, default=-1) + 1
        if index in voice.chunks:
            return
        # Other characters take up to four bytes each, and are no base64 anyway.
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
        """What came of a message so far, as (index, base64) in the order of the indices; `None` if nothing is kept."""
        voice = self._voices.get(message_id)
        return None if voice is None else sorted(voice.chunks.items())

    def loss(self, message_id: str) -> Loss | None:
        """What became of a message of which nothing is kept; `None` if nothing ever came, or it is long forgotten."""
        return self._lost.get(message_id)

    def drop(self) -> bool:
        """Gives up the oldest message; whether there was one."""
        if not self._voices:
            return False
        self._drop(next(iter(self._voices)), Loss.DROPPED)
        return True

    def _drop(self, message_id: str, why: Loss) -> None:
        size = self._voices.pop(message_id).size
        self.size -= size
        self._on_size(-size)
        self._lost[message_id] = why  # what comes later of it is not kept: it would be no whole message
        if len(self._lost) > MAX_DROPPED:
            del self._lost[next(iter(self._lost))]


class _Voice:
    __slots__ = ("chunks", "size")

    def __init__(self) -> None:
        self.chunks: dict[int, str] = {}
        self.size = 0
