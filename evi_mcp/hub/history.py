"""The history of one chat: what a consumer that attaches is sent first. It is bounded, and says what it dropped.

Audio has a budget of its own, so that speech is not pushed out by the sound of it.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import count
from operator import attrgetter

from evi_mcp.hub.event_types import EVENT_TYPES
from evi_mcp.hub.json_frames import write

MAX_MESSAGES = 10_000
MAX_BYTES = 32 * 2**20
"""Of the messages without audio, as UTF-8."""
MAX_AUDIO_BYTES = 2 * 2**20

AUDIO = "audio_output"
TRUNCATED = "history_truncated"
"""The type of the message that opens a replay from which something is missing."""

MAX_COUNTED_TYPES = 50
_OTHER = "other"


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a chat.

    `number` counts from 0 and is never given twice. `frame` is UTF-8 JSON: text takes up to four times as much. What
    is not `shown` is on no socket, and only the REST history knows of it (a pause). `message_id` is the `id` of an
    `assistant_message` and of what belongs to it.
    """

    number: int
    type: str
    at_ms: int
    frame: bytes
    shown: bool = True
    interim: bool = False
    message_id: str | None = None

    @property
    def is_event(self) -> bool:
        """Whether the REST history shows it."""
        return self.type in EVENT_TYPES and not self.interim


class History:
    """The newest messages of a chat, in order. Iterating gives every `Entry` that is kept."""

    def __init__(
        self, max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES, max_audio_bytes: int = MAX_AUDIO_BYTES
    ) -> None:
        self._kept = _Kept(max_messages, max_bytes)
        self._audio = _Kept(max_messages, max_audio_bytes)
        self._numbers = count()
        self.dropped: Counter[str] = Counter()
        """By type, how many messages that were on the sockets are not kept any more."""
        self.event_count = 0
        """How many events the REST history has had, those included that are not kept any more."""

    def __iter__(self) -> Iterator[Entry]:
        return merge(self._kept.entries, self._audio.entries, key=attrgetter("number"))

    def __len__(self) -> int:
        return len(self._kept.entries) + len(self._audio.entries)

    @property
    def size(self) -> int:
        """Bytes of all frames that are kept."""
        return self._kept.size + self._audio.size

    def append(
        self,
        type_: str,
        at_ms: int,
        frame: bytes,
        *,
        shown: bool = True,
        interim: bool = False,
        message_id: str | None = None,
    ) -> Entry:
        """Adds a message, and drops the oldest beyond the limits."""
        entry = Entry(next(self._numbers), type_, at_ms, frame, shown, interim, message_id)
        self.event_count += entry.is_event
        self._count((self._audio if type_ == AUDIO else self._kept).append(entry))
        return entry

    def replay(self) -> list[bytes]:
        """The frames for a consumer that attaches; first, where something is missing, how much."""
        frames = [entry.frame for entry in self if entry.shown]
        if self.dropped:
            frames.insert(0, write(_truncated(self.dropped)))
        return frames

    def drop_audio(self) -> None:
        """Drops all audio."""
        self._count(self._audio.shrink(0))

    def halve(self) -> None:
        """Drops the audio, or, without any, the older half of the messages."""
        if self._audio.entries:
            self.drop_audio()
        else:
            self._count(self._kept.shrink(self._kept.size // 2))

    def _count(self, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.shown:
                known = entry.type in self.dropped or len(self.dropped) < MAX_COUNTED_TYPES
                self.dropped[entry.type if known else _OTHER] += 1


def _truncated(dropped: Counter[str]) -> dict[str, object]:
    counts = ", ".join(f"{count} {type_}" for type_, count in dropped.most_common())
    said = f"The history is longer than the hub keeps; the oldest messages are left out: {counts}."
    return {"type": TRUNCATED, "dropped": dict(dropped), "message": said}


class _Kept:
    """The newest entries of one kind, within a number and a size."""

    def __init__(self, most: int, max_bytes: int) -> None:
        self._most, self._max_bytes = most, max_bytes
        self.entries: deque[Entry] = deque()
        self.size = 0

    def append(self, entry: Entry) -> list[Entry]:
        """Takes an entry; returns those that were dropped for it."""
        self.entries.append(entry)
        self.size += len(entry.frame)
        return self.shrink(self._max_bytes)

    def shrink(self, size: int) -> list[Entry]:
        """Drops the oldest until no more than `size` bytes are left; returns them."""
        dropped = []
        while self.entries and (self.size > size or len(self.entries) > self._most):
            dropped.append(self.entries.popleft())
            self.size -= len(dropped[-1].frame)
        return dropped
