"""Playing a simulated call without sockets: time is a number, and passes as fast as a test asks for it."""

import json
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

from evi_mcp.hub import ChatSource, SourceCommand
from evi_mcp.hub.chats import Chats
from evi_mcp.hub.consumers import Consumer
from evi_mcp.simulator.scenario import scenarios
from evi_mcp.simulator.scripted_call import ScriptedCall, Timing
from tests.clocks import HandClock

Event = dict[str, Any]


class Play:
    """A call on its chat, one consumer of it, and all that this consumer was sent."""

    def __init__(self, script: str | None = None, *, seed: str = "test", verbose: bool = True, **timing: Any) -> None:
        ids = count(1)
        chats = Chats(lambda: f"id-{next(ids)}")
        self.chat = chats.open(started_ms=0, chat_id="chat-1", chat_group_id="group-1")
        self.source = ChatSource(chats, self.chat, HandClock(), self._take)
        self.now = 0.0
        self.call = ScriptedCall(
            scenarios()[script] if script else None,
            Timing(**timing),
            Random(seed),
            self.source.publish,
            epoch_ms=1_762_430_100_000,
            now=0.0,
            verbose_transcription=verbose,
        )
        self.consumer = self.chat.attach()
        self.events: list[Event] = []
        self._read = 0

    def send(self, type_: str, /, sender: Consumer | None = None, **fields: Any) -> None:
        self.raw(json.dumps({"type": type_, **fields}), sender)

    def raw(self, frame: str | bytes, sender: Consumer | None = None) -> None:
        self.chat.receive(frame, sender or self.consumer, self.now)
        self.call.advance(self.now)
        self.collect()

    def wait(self, seconds: float) -> list[Event]:
        """What comes in the next so many seconds."""
        seen = len(self.events)
        until = self.now + seconds
        while (due := self.call.next_due()) is not None and due <= until:
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
            due = self.call.next_due()
            assert due is not None and due <= limit, f"no {type_} came; the last was {self.events[-1]}"
            self._advance(due)

    def to_the_end(self) -> list[Event]:
        """All events of the call, tool calls left alone."""
        while (due := self.call.next_due()) is not None:
            self._advance(due)
        self.collect()
        return self.events

    def of(self, *types: str) -> list[Event]:
        return [event for event in self.events if event["type"] in types]

    def spoken(self) -> list[str]:
        """EVI's lines."""
        return [event["message"]["content"] for event in self.of("assistant_message")]

    def collect(self) -> None:
        self.events += read(self.consumer)

    def _take(self, command: SourceCommand) -> None:
        if self.call.take(command.message, self.now):
            command.done()
        else:
            command.refuse(None)

    def _advance(self, now: float) -> None:
        self.now = now
        self.call.advance(now)
        self.collect()


def read(consumer: Consumer) -> list[Event]:
    """All that a consumer is sent now."""
    events: list[Event] = []
    while frames := consumer.take():
        events += map(json.loads, frames)
    return events
