"""One attached chat. It owns the chat's whole state: its connection, its record, its pause, its commands.

Only plain functions change the state, so cancellation cannot leave it half-changed. Frames become drafts
(`ChatReader`), the ledger numbers them, and numbered events come back, are folded (`ChatRecord`) and go to listeners.
"""

import logging
from collections.abc import Callable, Sequence
from enum import Enum

from evi_mcp.chat.events import CHAT_STATE, Draft, Event
from evi_mcp.chat.reader import ChatReader
from evi_mcp.chat.record import ChatRecord
from evi_mcp.chat.triggers import Reminders
from evi_mcp.clock import moment
from evi_mcp.logs import fields
from evi_mcp.protocol.fast_decode import FastMessage
from evi_mcp.protocol.lifecycle import Change, State
from evi_mcp.protocol.messages import Message
from evi_mcp.supervision.house import House
from evi_mcp.supervision.intents import Intent, Receipt
from evi_mcp.supervision.listeners import Listeners
from evi_mcp.supervision.sending import Sending
from evi_mcp.upstream.transport import Transport
from evi_mcp.wakeups import Signal

_log = logging.getLogger(__name__)


class Attach(Enum):
    """How far an attach has come."""

    TRIED = "tried"  # no agent knows of it yet, and it may fail
    KNOWN = "known"  # it was live or over, or an agent knows of it
    DETACHED = "detached"


class LiveChat:
    """A chat that is followed.

    Args:
        chat_id: The id of the chat.
        house: What all chats share.
        on_pause: Called with the chat whenever a pause begins or ends.
    """

    def __init__(self, chat_id: str, house: House, on_pause: Callable[["LiveChat"], None] = lambda _: None) -> None:
        self.chat_id = chat_id
        self.clock = house.clock
        self._house = house
        self._ledger = house.ledger
        keep = house.ledger.keeps_identities
        self.reader = ChatReader(chat_id, house.mask, house.salt, keep_identities=keep)
        self.record = ChatRecord(
            chat_id,
            max_events=house.max_events,
            moment=moment(house.clock),
            max_audio=house.max_audio,
            memory=house.memory,
            tool_call_fallback=house.tool_call_fallback,
        )
        self.listeners = Listeners()
        self.reminders = Reminders()
        self.attach = Attach.TRIED
        self._on_pause = on_pause
        self.transport: Transport | None = None  # while there is a socket
        self._connections = 0
        self._elapsed: float | None = None  # when the frame came whose events the ledger is numbering now
        self._sending = Sending(house)
        self._changed = Signal()
        self._ledger.follow(chat_id, self._fold)

    def __repr__(self) -> str:
        return f"<LiveChat {self.chat_id}: {self.state}, {self.record.log.appended} events>"

    @property
    def state(self) -> State:
        """The state of the chat."""
        return self.record.state

    @property
    def over(self) -> bool:
        """Whether the chat is ended or failed."""
        return self.record.over

    @property
    def never_was(self) -> bool:
        """Whether it failed before it was ever live."""
        return self.state is State.FAILED and not self.record.was_live

    @property
    def came_to_nothing(self) -> bool:
        """Whether it is an attach that failed before any agent knew of it: no agent is shown it."""
        return self.attach is Attach.TRIED and self.never_was

    @property
    def is_connected(self) -> bool:
        """Whether there is a socket, even if it is still in its replay."""
        return self.transport is not None

    @property
    def is_detached(self) -> bool:
        """Whether an agent, or the end of the process, has detached it."""
        return self.attach is Attach.DETACHED

    def pause_changed(self) -> None:
        """A pause has begun or ended."""
        self._on_pause(self)

    async def changed(self) -> None:
        """Returns after the next change of state or connection."""
        await self._changed.wait()

    # What happens to it

    def connected(self, transport: Transport) -> None:
        """A socket is open; it brings the history first."""
        self.transport = transport
        self._connections += 1
        self.record.reconnects = self._connections - 1
        self.record.catching_up = True
        self.reader.history.begin_replay()
        self._changed.tell()

    def disconnected(self) -> None:
        """The socket is gone."""
        self.transport = None
        self.record.catching_up = True
        self.reader.history.lose_connection()
        self._changed.tell()

    def caught_up(self) -> None:
        """The replay has ended: what comes from here on happens now."""
        self.reader.history.end_replay()
        self.record.caught_up()
        self.change(self.reader.lifecycle.caught_up())
        self._changed.tell()

    def receive(self, frame: str | bytes | Message | FastMessage) -> None:
        """Takes in a frame, and passes its new events to every listener."""
        at = moment(self.clock)
        read = self.reader.read(frame, at)
        if read.drafts:
            self._elapsed = at.elapsed
            self._append(read.drafts)
            self._elapsed = None
        if (voice := read.voice) is not None:
            self.record.hear(voice.message_id, voice.number, voice.data, at.elapsed, live=not voice.replayed)

    def change(self, change: Change | None) -> None:
        """Logs a change of state, if there was one, and passes it to every listener."""
        if change is not None:
            self._append(self.reader.changed(change, moment(self.clock)))

    def _append(self, drafts: Sequence[Draft]) -> None:
        self._ledger.append(self.chat_id, drafts)

    def _fold(self, events: Sequence[Event]) -> None:
        """Takes in numbered events that come back from the ledger."""
        elapsed = self.clock.elapsed() if self._elapsed is None else self._elapsed
        for event in events:
            if _log.isEnabledFor(logging.DEBUG):
                _log.debug("event", extra=fields(chat_id=self.chat_id, seq=event.seq, type=event.type))
            self.record.apply(event, elapsed)
            self._sending.saw(self, event, elapsed)
            self.listeners.tell(event)
            if event.type == CHAT_STATE:
                _log.info("chat state", extra=fields(chat_id=self.chat_id, state=event.state, reason=event.reason))
                self._changed.tell()

    # What is done to it

    async def send(self, intent: Intent) -> Receipt:
        """Writes a command once or not at all, and waits for its effect. Raises what `Sending.send` raises."""
        return await self._sending.send(self, intent)

    def detach(self) -> None:
        """Stops following the chat; the chat itself goes on."""
        self.attach = Attach.DETACHED
        self.change(self.reader.lifecycle.detached())

    def leave(self) -> None:
        """Frees everything that is kept of the chat; it gets no more events."""
        self._ledger.leave(self.chat_id, self._fold)
        self.listeners.clear()  # one of them refers to the chat, and would keep its log until a garbage collection
        self.record.forget()
