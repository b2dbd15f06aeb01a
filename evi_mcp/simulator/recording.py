"""What has happened in one chat, in order, and how far each connection has read it.

There is one recording for all connections: history and live events are the same list, so nothing can fall
between the two, and a slow connection costs the chat nothing.
"""

import json
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from evi_mcp.simulator.audio import Tone, wav_base64

MAX_RECORDS = 50_000
MAX_CHARACTERS = 64 * 2**20
"""Limits of one recording; a chat that reaches one ends. No script comes near, only a client that floods."""

_MOST_TAKEN = 2**20  # characters
MAX_REPLIES = 32
MAX_FAULTS = 10
"""Ten identical errors close a connection (Hume's page on errors)."""

POLICY_VIOLATION: Final = 1008


def frame_of(type_: str, /, **fields: Any) -> str:
    """The text of a frame, `type` first as in Hume's samples."""
    return json.dumps({"type": type_, **fields}, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that happened.

    `text` is the frame, except that the audio of `tone` is put in when it is sent: a recording would weigh
    megabytes otherwise. `sender` is the connection it came from, which does not get it back. `on_socket` is false
    for what only the REST history knows (a pause). `at_ms` is Unix time.
    """

    type: str
    at_ms: int
    text: str
    tone: Tone | None = None
    sender: "Attachment | None" = None
    on_socket: bool = True

    @property
    def frame(self) -> str:
        if self.tone is None:
            return self.text
        return f'{self.text[:-1]},"data":"{wav_base64(self.tone)}"}}'


@dataclass(frozen=True, slots=True)
class Close:
    """How a connection is to be closed. The code is one of RFC 6455's."""

    code: int
    reason: str


class Recording:
    """The records of one chat; only ever appended to."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._characters = 0

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def __getitem__(self, index: int) -> Record:
        return self._records[index]

    @property
    def full(self) -> bool:
        """Whether nothing more should be recorded."""
        return len(self._records) >= MAX_RECORDS or self._characters >= MAX_CHARACTERS

    def append(self, record: Record) -> None:
        self._records.append(record)
        self._characters += len(record.text)


@dataclass(eq=False)
class Attachment:
    """One connection's place in a recording.

    Args:
        recording: Read from its start: the history, then what is new. Nothing on the wire marks where one ends.
        greeting: The `chat_metadata` of this connection, with a `request_id` of its own.
        primary: Whether this is the chat's own connection, `/v0/evi/chat`.
    """

    recording: Recording
    greeting: str
    primary: bool
    close: Close | None = None
    """Set as soon as this connection is to be closed, whatever becomes of the chat."""
    _position: int = 0
    _replies: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_REPLIES))
    _faults: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._replies.append(self.greeting)

    def take(self, most: int = 64) -> list[str]:
        """The next frames to send, about `most` of them or a megabyte; none if the connection is up to date."""
        frames = list(self._replies)
        self._replies.clear()
        characters = 0
        while len(frames) < most and characters < _MOST_TAKEN and self._position < len(self.recording):
            record = self.recording[self._position]
            self._position += 1
            if record.on_socket and record.sender is not self:
                frames.append(record.frame)
                characters += len(frames[-1])
        return frames

    def fault(self, code: str, slug: str, message: str) -> None:
        """Tells this connection alone that what it sent cannot be used; the tenth time closes it."""
        self._replies.append(frame_of("error", code=code, slug=slug, message=message))
        self._faults[code] += 1
        if self._faults[code] >= MAX_FAULTS and self.close is None:
            self.close = Close(POLICY_VIOLATION, f"{MAX_FAULTS} errors {code}")
