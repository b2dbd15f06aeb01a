"""What the two sides of a simulated chat share: the clock, chance, the recording, and the end.

Time is real seconds since the service started, handed in from outside. `speed` shortens what the script does;
it does not shorten how long a client may take to answer.
"""

import uuid
from dataclasses import dataclass
from random import Random
from typing import Any

from evi_mcp.simulator.audio import Tone
from evi_mcp.simulator.recording import Attachment, Close, Record, Recording, frame_of
from evi_mcp.simulator.track import Wait

NORMAL_CLOSURE = 1000
INTERNAL_ERROR = 1011


@dataclass(frozen=True, slots=True)
class Ending:
    """How a chat ended: `status` is one of the REST API's (`USER_ENDED`, ...), `close` goes to every connection."""

    status: str
    close: Close


class Stage:
    """The common ground of the caller and EVI's voice.

    Args:
        chance: Seeded by the owner; the only source of ids and of variation.
        epoch_ms: The Unix time, in milliseconds, at which the clock stood at 0.
        now: The clock at the start of the chat, in seconds.
        speed: How many times faster than life the script plays.
    """

    def __init__(self, chance: Random, *, epoch_ms: int, now: float, speed: float) -> None:
        self.chance = chance
        self.now = now
        self.started = now
        self.recording = Recording()
        self.ending: Ending | None = None
        self.user_messages = 0
        self.user_heard_at = now
        self._epoch_ms = epoch_ms
        self._speed = speed

    def after(self, seconds: float) -> Wait:
        """A wait of so many seconds of the script."""
        return Wait(until=self.now + seconds / self._speed)

    @property
    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return self._epoch_ms + int(self.now * 1000)

    @property
    def position_ms(self) -> int:
        """Milliseconds since the chat began, as the script counts them; what `time` in a `user_message` holds."""
        return int((self.now - self.started) * self._speed * 1000)

    def emit(self, type_: str, /, *, tone: Tone | None = None, sender: Attachment | None = None, **fields: Any) -> None:
        """Records an event, which every connection but `sender` gets. After the end nothing happens any more."""
        self._record(type_, fields, tone=tone, sender=sender)

    def note(self, type_: str, /, **fields: Any) -> None:
        """Records what no connection gets and only the REST history shows."""
        self._record(type_, fields, on_socket=False)

    def user_message(self, text: str, *, begin_ms: int, models: Any, from_text: bool, interim: bool = False) -> None:
        """Records words of the user, spoken from `begin_ms` until now."""
        if not interim:
            self.user_messages += 1
            self.user_heard_at = self.now
        self.emit(
            "user_message",
            message={"role": "user", "content": text},
            models=models,
            time={"begin": begin_ms, "end": self.position_ms},
            from_text=from_text,
            interim=interim,
        )

    def end(self, status: str, reason: str, code: int = NORMAL_CLOSURE) -> None:
        """Ends the chat. All connections are closed once they have got everything; only the first call counts."""
        if self.ending is None:
            self.ending = Ending(status, Close(code, reason))

    def end_with_error(self, status: str, code: str, slug: str, message: str, close: int = NORMAL_CLOSURE) -> None:
        """Ends the chat after an `error` event that says why."""
        self.emit("error", code=code, slug=slug, message=message, request_id=self.new_request_id())
        self.end(status, slug, close)

    def new_id(self) -> str:
        """An id as `assistant_message` has them: 32 hex digits."""
        return f"{self.chance.getrandbits(128):032x}"

    def new_tool_call_id(self) -> str:
        """`call_` and 24 characters, as the LLM providers make them."""
        return "call_" + "".join(self.chance.choices("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789", k=24))

    def new_request_id(self) -> str:
        """A UUID and digits, as in Hume's samples."""
        return f"{uuid.UUID(int=self.chance.getrandbits(128), version=4)}{self.chance.randrange(10**7, 10**8)}"

    def _record(
        self,
        type_: str,
        fields: dict[str, Any],
        *,
        tone: Tone | None = None,
        sender: Attachment | None = None,
        on_socket: bool = True,
    ) -> None:
        if self.ending is not None:
            return
        if self.recording.full:
            self.end("ERROR", "the chat has grown too long", INTERNAL_ERROR)
            return
        self.recording.append(Record(type_, self.now_ms, frame_of(type_, **fields), tone, sender, on_socket))
