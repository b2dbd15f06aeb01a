"""A chat without connection or tasks: frames in, events folded, as `LiveChat` does it."""

from collections.abc import Sequence
from typing import Any

from evi_mcp.chat.events import COMMAND, Draft, Event
from evi_mcp.chat.memory import Memory
from evi_mcp.chat.reader import ChatReader
from evi_mcp.chat.record import ChatRecord
from evi_mcp.ledger.memory import MemoryLedger
from evi_mcp.protocol.fast_decode import FastMessage
from evi_mcp.protocol.messages import Message
from evi_mcp.protocol.redaction import Mask
from evi_mcp.times import Moment


class FoldedChat:
    """Reader, ledger and record of one chat; what is asked of it goes to the record."""

    def __init__(
        self,
        *made: str | bytes | Message,
        chat_id: str = "c",
        max_events: int = 1000,
        max_audio: int = 0,
        mask: Mask | None = None,
        memory: Memory | None = None,
        at: float = 0.0,
    ) -> None:
        self.ledger = MemoryLedger("e")
        self.reader = ChatReader(chat_id, mask)
        self.record = ChatRecord(
            chat_id, max_events=max_events, moment=Moment(at, at), max_audio=max_audio, memory=memory
        )
        self._elapsed = at
        self._folded: list[Event] = []
        self.ledger.follow(chat_id, self._fold)
        self.reader.history.begin_replay()
        for frame in made:
            self.receive(frame, at)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.record, name)

    def connect_again(self) -> None:
        """The connection was lost, and another one begins with a replay."""
        self.record.catching_up = True
        self.reader.history.end_replay()
        self.reader.history.begin_replay()

    def caught_up(self) -> None:
        """The replay has ended."""
        self.reader.history.end_replay()
        self.record.caught_up()

    def receive(self, frame: str | bytes | Message | FastMessage, at: float = 1.0) -> list[Event]:
        """The events that a frame brings."""
        read = self.reader.read(frame, Moment(at, at))
        events = self.append(read.drafts, at)
        if (voice := read.voice) is not None:
            self.record.hear(voice.message_id, voice.number, voice.data, at, live=not voice.replayed)
        return events

    def command(self, command: str, at: float = 1.0, **facts: Any) -> Event:
        """Somebody sends a command."""
        [event] = self.append(
            [Draft(Event(chat_id=self.record.chat_id, at=at, type=COMMAND, command=command, **facts))], at
        )
        return event

    def append(self, drafts: Sequence[Draft], at: float) -> list[Event]:
        """Numbers drafts and folds them."""
        self._elapsed, self._folded = at, []
        self.ledger.append(self.record.chat_id, drafts)
        return self._folded

    def _fold(self, events: Sequence[Event]) -> None:
        for event in events:
            self.record.apply(event, self._elapsed)
            self._folded.append(event)
