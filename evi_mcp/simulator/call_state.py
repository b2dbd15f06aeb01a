"""What the two sides of a simulated call share: the clock, chance, what is said, and the end.

Time is real seconds since the simulator started, handed in from outside. `speed` shortens what the script does; it
does not shorten how long a supervisor may take to answer.
"""

import uuid
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, NamedTuple

from evi_mcp.simulator.processes import Wait

NORMAL_CLOSURE = 1000

Publish = Callable[[Mapping[str, Any], int], None]
"""Takes a message of the chat, and when it happened in Unix milliseconds."""


class CallEnding(NamedTuple):
    """How a call ended: `status` is one of the REST API's (`USER_ENDED`, ...)."""

    status: str
    reason: str


class CallState:
    """The common ground of the scripted user and EVI.

    Args:
        publish: Takes what happens.
        chance: Seeded by the owner; the only source of ids and of variation.
        epoch_ms: The Unix time, in milliseconds, at which the clock stood at 0.
        now: The clock at the start of the call, in seconds.
        speed: How many times faster than life the script plays.
    """

    def __init__(self, publish: Publish, chance: Random, *, epoch_ms: int, now: float, speed: float) -> None:
        self.chance = chance
        self.now = now
        self.started = now
        self.ending: CallEnding | None = None
        self.user_messages = 0
        self.user_heard_at = now
        self._waiting_since: float | None = None
        self._publish = publish
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
        """Milliseconds since the call began, as the script counts them; what `time` in a `user_message` holds."""
        return int((self.now - self.started) * self._speed * 1000)

    def emit(self, type_: str, /, **fields: Any) -> None:
        """Publishes a message. After the end nothing happens any more."""
        if self.ending is None:
            self._publish({"type": type_, **fields}, self.now_ms)

    def user_message(self, text: str, *, begin_ms: int, models: Any, from_text: bool, interim: bool = False) -> None:
        """Publishes words of the user, spoken from `begin_ms` until now."""
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

    def wait_for_voice(self) -> None:
        """The user has spoken, and waits for somebody to speak."""
        self._waiting_since = self.now

    def stop_waiting(self) -> float:
        """Somebody speaks. Returns how long the user has waited, in seconds of the script; 0 if the user did not."""
        since, self._waiting_since = self._waiting_since, None
        return 0.0 if since is None else (self.now - since) * self._speed

    def end(self, status: str, reason: str) -> None:
        """Ends the call; only the first time counts."""
        if self.ending is None:
            self.ending = CallEnding(status, reason)

    def end_with_error(self, status: str, code: str, slug: str, message: str) -> None:
        """Ends the call after an `error` event that says why."""
        self.emit("error", code=code, slug=slug, message=message, request_id=self.new_request_id())
        self.end(status, slug)

    def new_id(self) -> str:
        """An id as `assistant_message` has them: 32 hex digits."""
        return f"{self.chance.getrandbits(128):032x}"

    def new_tool_call_id(self) -> str:
        """`call_` and 24 characters, as the LLM providers make them."""
        return "call_" + "".join(self.chance.choices("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789", k=24))

    def new_request_id(self) -> str:
        """A UUID and digits, as in Hume's samples."""
        return f"{uuid.UUID(int=self.chance.getrandbits(128), version=4)}{self.chance.randrange(10**7, 10**8)}"
