"""Everything known of one chat: frames and connection news go in, events come out.

The record decides what is new, numbers it, and keeps the log, the turns, the tool calls and the state in step.
It does no I/O and never awaits, so whoever looks at it sees it whole.
"""

from typing import Any

from evi_mcp.chat.audio import AudioStore
from evi_mcp.chat.events import CHAT_STATE, COMMAND, SPEECH, Event
from evi_mcp.chat.facts import facts_of, facts_of_fast
from evi_mcp.chat.tool_calls import ToolCalls
from evi_mcp.chat.turns import Turns
from evi_mcp.ledger.log import Cursors, EventLog
from evi_mcp.protocol.cutting import cut_name
from evi_mcp.protocol.fast_decode import FastMessage
from evi_mcp.protocol.identity import identify, identify_fast
from evi_mcp.protocol.lifecycle import Change, Lifecycle
from evi_mcp.protocol.messages import AudioOutput, ChatMetadata, ErrorMessage, Message
from evi_mcp.protocol.reading import read
from evi_mcp.protocol.redaction import Mask
from evi_mcp.protocol.replay import History
from evi_mcp.protocol.scores import Scores

AUDIO_CHARS_PER_S = 48_000 * 2 * 4 / 3
"""Characters of base64 for a second of EVI's voice: 48 kHz (Hume's audio guide), 16 bit, mono (official examples)."""


class ChatRecord:
    """What this server knows of one chat. Times are Unix seconds."""

    def __init__(
        self,
        chat_id: str,
        cursors: Cursors,
        *,
        max_events: int,
        now: float,
        max_audio: int = 0,
        mask: Mask | None = None,
    ) -> None:
        self.chat_id = chat_id
        self.mask = mask or Mask()
        self.attached_at = now
        self.chat_group_id: str | None = None
        self.paused = False
        """Whether this server has paused the chat; what others do about it cannot be seen (no such event)."""
        self.resumes_at: float | None = None
        """When that pause ends by itself; `None` if it does not, or there is none."""
        self.reconnects = 0
        self.last_event_at: float | None = None
        self.spoke_at = now
        """When either side was last heard, be it in part; until then, when the chat was attached. While EVI's voice is
        heard, when that will end."""
        self._voice_ends = now
        self.over_seq: int | None = None
        """The `chat_state` event with which the chat was over; `None` while it is not."""
        self.lifecycle = Lifecycle(self.mask)
        self.history = History()
        self.log = EventLog(max_events)
        self.tool_calls = ToolCalls()
        self.turns = Turns()
        self.audio = AudioStore(max_audio)
        self._cursors = cursors
        self._opened = 0

    def connection_opened(self) -> None:
        """A socket stands; its replay begins."""
        self._opened += 1
        self.reconnects = self._opened - 1
        self.history.begin_replay()

    def receive(self, frame: str | bytes | Message | FastMessage, now: float) -> list[Event]:
        """Takes in a frame; the events it gives are none if it is known, else one, or two if it ends the chat.

        Args:
            frame: As it came; or what `reading.read` has made of it, where that takes long.
        """
        message = frame if isinstance(frame, FastMessage) else read(frame, self.mask)
        if isinstance(message, FastMessage):
            return self._take_in(message, now)
        if not self.history.is_new(identify(message)):
            return []
        self.last_event_at = now
        if isinstance(message, ChatMetadata):
            self.chat_group_id = cut_name(message.chat_group_id or "") or self.chat_group_id
        facts = facts_of(message)
        if not isinstance(frame, Message):
            facts = self.mask.fields(facts)  # large ones were searched where that holds nobody up
        events = [self._log(now, replayed=self.history.replaying or None, **facts)]
        if isinstance(message, AudioOutput):
            self._take_in_voice(events[0], message.index, message.data)
        if isinstance(message, ErrorMessage):
            events += self.changed(self.lifecycle.heard_error(message.code, message.slug), now)
        return events

    def _take_in(self, message: FastMessage, now: float) -> list[Event]:
        if not self.history.is_new(identify_fast(message)):
            return []
        self.last_event_at = now
        event = self._log(now, replayed=self.history.replaying or None, **facts_of_fast(message))
        if message.data is not None:
            self._take_in_voice(event, message.number, message.data)
        return [event]

    def changed(self, change: Change | None, now: float) -> list[Event]:
        """Logs a change of state, if there was one."""
        if change is None:
            return []
        event = self._log(now, type=CHAT_STATE, state=change.state.value, reason=self.mask(change.reason))
        if self.lifecycle.over:
            self.over_seq = event.seq
        return [event]

    def command(self, command: str, now: float, *, by: str, **facts: Any) -> Event:
        """Logs that an agent sends something; `by` names the agent, `facts` are fields of `Event`."""
        return self._log(now, type=COMMAND, **self.mask.fields({"command": command, "by": by, **facts}))

    def _take_in_voice(self, event: Event, index: int | None, data: str | None) -> None:
        """EVI's voice comes faster than it is heard: while it is, the chat is not silent."""
        if not event.replayed:
            self._voice_ends = max(self._voice_ends, event.at) + len(data or "") / AUDIO_CHARS_PER_S
            self.spoke_at = self._voice_ends
        self.audio.keep(event.message_id, index, data)

    def _log(self, now: float, **facts: Any) -> Event:
        if isinstance(facts.get("scores"), dict):
            facts["scores"] = Scores(facts["scores"])
        event = Event(seq=self._cursors.next_seq(), chat_id=self.chat_id, at=now, **facts)
        self.log.append(event)
        if event.type in SPEECH:
            self.spoke_at = max(now, self._voice_ends)
        if event.type == "user_interruption":
            self.spoke_at = self._voice_ends = now  # what was not heard yet will not be
        self.turns.see(event)
        self.tool_calls.see(event)
        return event
