"""Playing a simulated chat without sockets: time is a number, and passes as fast as a test asks for it."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

from evi_mcp.simulator.engine import ChatEngine, Opening, Timing
from evi_mcp.simulator.recording import Attachment
from evi_mcp.simulator.scenario import scenarios

Event = dict[str, Any]


class Play:
    """A chat, one connection to it, and all that this connection was sent."""

    def __init__(
        self,
        script: str | None = None,
        *,
        seed: str = "test",
        primary: bool = False,
        verbose: bool = True,
        **timing: Any,
    ) -> None:
        scenario = scenarios()[script] if script else None
        opening = Opening("chat-1", "group-1", scenario=scenario, allow_connection=True, verbose_transcription=verbose)
        self.engine = ChatEngine(opening, Timing(**timing), Random(seed), epoch_ms=1_762_430_100_000, now=0.0)
        self.connection = self.engine.attach(primary=primary)
        self.events: list[Event] = []
        self.now = 0.0
        self._read = 0

    def send(self, type_: str, /, sender: Attachment | None = None, **fields: Any) -> None:
        self.raw(json.dumps({"type": type_, **fields}), sender)

    def raw(self, frame: str | bytes, sender: Attachment | None = None) -> None:
        self.engine.receive(frame, sender or self.connection, self.now)
        self.collect()

    def wait(self, seconds: float) -> list[Event]:
        """What comes in the next so many seconds."""
        seen = len(self.events)
        until = self.now + seconds
        while (due := self.engine.next_due()) is not None and due <= until:
            self._advance(due)
        self._advance(until)
        self._read = len(self.events)
        return self.events[seen:]

    def until(self, type_: str, which: Callable[[Event], bool] = lambda event: True, *, most_s: float = 400) -> Event:
        """The next event of this type after the one last asked for, or after the last `wait`; plays up to it."""
        limit = self.now + most_s
        while True:
            while self._read < len(self.events):
                event = self.events[self._read]
                self._read += 1
                if event["type"] == type_ and which(event):
                    return event
            due = self.engine.next_due()
            assert due is not None and due <= limit, f"no {type_} came; the last was {self.events[-1]}"
            self._advance(due)

    def to_the_end(self) -> list[Event]:
        """All events of the chat, tool calls left alone."""
        while (due := self.engine.next_due()) is not None:
            self._advance(due)
        self.collect()
        return self.events

    def of(self, *types: str) -> list[Event]:
        return [event for event in self.events if event["type"] in types]

    def spoken(self) -> list[str]:
        """EVI's lines."""
        return [event["message"]["content"] for event in self.of("assistant_message")]

    def collect(self) -> None:
        while frames := self.connection.take():
            self.events += map(json.loads, frames)

    def _advance(self, now: float) -> None:
        self.now = now
        self.engine.advance(now)
        self.collect()


def read(connection: Attachment) -> list[Event]:
    """All that a connection is sent now."""
    events: list[Event] = []
    while frames := connection.take():
        events += map(json.loads, frames)
    return events
