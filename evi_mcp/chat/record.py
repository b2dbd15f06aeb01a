"""Everything known of one chat, folded from its numbered events: the log, the turns, the tool calls, the state.

The same events always give the same record. It does no I/O and never awaits, so nobody sees it half-changed. Silences
and waiting are measured by a clock that nobody can set back.
"""

import json
from collections.abc import Mapping
from typing import Protocol

from evi_mcp.chat.audio import AudioStore
from evi_mcp.chat.events import CHAT_METADATA, CHAT_STATE, COMMAND, HISTORY_TRUNCATED, SPEECH, Event, payload_of
from evi_mcp.chat.given import GivenLines
from evi_mcp.chat.log import EventLog
from evi_mcp.chat.memory import Memory
from evi_mcp.chat.outcomes import Outcomes
from evi_mcp.chat.pause import Pause
from evi_mcp.chat.tool_calls import ToolCalls
from evi_mcp.chat.turns import Turns
from evi_mcp.protocol.lifecycle import OVER, State
from evi_mcp.times import Moment

AUDIO_CHARS_PER_S = 48_000 * 2 * 4 / 3
"""Characters of base64 for a second of EVI's voice: 48 kHz (Hume's audio guide), 16 bit, mono (official examples)."""


class _Buffer(Protocol):
    size: int

    def drop(self) -> bool: ...


class ChatRecord:
    """What this server knows of one chat.

    Args:
        chat_id: The chat of the record.
        max_events: The most events kept.
        moment: When the chat was attached.
        max_audio: The most characters of audio kept; 0 keeps none.
        memory: The budget of all chats; `None` makes one for this chat alone.
        tool_call_fallback: As for `ToolCalls`.
    """

    def __init__(
        self,
        chat_id: str,
        *,
        max_events: int,
        moment: Moment,
        max_audio: int = 0,
        memory: Memory | None = None,
        tool_call_fallback: float | None = None,
    ) -> None:
        self.chat_id = chat_id
        self.attached_at = moment.now
        self.chat_group_id: str | None = None
        self.source: str | None = None
        """What the chat comes from, if its service says so."""
        self.unknown_before = 0
        """The `seq` of the event that says that what was said before the attach is not known; 0 if there is none."""
        self.forgotten_to = 0
        """The newest number when the chat was last detached; 0 if it never was. The log until then is gone; what was
        said until then has come again with the history."""
        self.supports: tuple[str, ...] | None = None
        """The types of the commands that it takes; `None` for all."""
        self.state = State.CONNECTING
        self.reason: str | None = None
        """Why it is in this state, in our own words, with the service's words in quotes."""
        self.was_live = False
        self.over_seq: int | None = None
        """The `seq` of the `chat_state` event that ended the chat; `None` while the chat is not over."""
        self.catching_up = True
        """Whether what arrives may still be history. Meanwhile nothing that depends on what was said is decided."""
        self.history_seq: int | None = None
        """The `seq` of the last event of the history before the attach; `None` until all of it has come. Events up to
        it wake nobody: they are the past."""
        self.pause = Pause()
        self.reconnects = 0
        self.last_event_at: float | None = None
        self.spoke_at = moment.elapsed
        """When either side was last heard, in seconds of `Clock.elapsed`. At first the time of the attach; while EVI's
        voice is playing, the time when it will end."""
        self._voice_ends = moment.elapsed
        self._share = (memory or Memory()).share(self._shed)
        self.log = EventLog(max_events, self._share.add, self._dropped)
        self.tool_calls = ToolCalls(self._share.add, tool_call_fallback)
        self.turns = Turns(self._share.add)
        self.given = GivenLines()
        self.outcomes = Outcomes()
        self.audio = AudioStore(max_audio, self._share.add)

    @property
    def over(self) -> bool:
        """Whether the chat is ended or failed."""
        return self.state in OVER

    @property
    def source_name(self) -> str | None:
        """The first word of the source, such as `pipecat`: without the versions that may stand beside it."""
        source = self.source or ""
        try:
            named = json.loads(source).get("name") if source.startswith("{") else source
        except (ValueError, AttributeError, RecursionError):
            named = source
        return named.partition(" ")[0] or None if isinstance(named, str) else None

    @property
    def read_to(self) -> int:
        """The number of a reader who has seen the chat as it is now."""
        return max(self.log.last_seq, self.log.dropped_seq)

    @property
    def kept_bytes(self) -> int:
        """How much is kept of the chat, in bytes."""
        return self._share.kept

    def scores_of(self, event: Event) -> Mapping[str, float] | None:
        """The expression of a message of the log; `None` if it has none, or none has come yet."""
        return self.turns.scores_of(event)

    def is_news(self, event: Event) -> bool:
        """Whether an event of the log happened after the attach. While the chat is catching up nobody knows that of
        what is said; changes of state and commands are always news."""
        if event.type in (CHAT_STATE, COMMAND):
            return True
        return not self.catching_up and self.history_seq is not None and event.seq > self.history_seq

    def caught_up(self) -> None:
        """The replay has ended: what comes from here on happens now."""
        self.catching_up = False
        if self.history_seq is None:
            self.history_seq = self.log.last_seq

    def apply(self, event: Event, elapsed: float) -> None:
        """Takes in a numbered event of the chat.

        Args:
            elapsed: When it reached us, in seconds of `Clock.elapsed`.
        """
        self.log.append(event)
        if event.type == CHAT_STATE:
            self._take_state(event)
        elif event.type != COMMAND:
            self.last_event_at = event.at
        if event.type == CHAT_METADATA:
            self.chat_group_id = event.chat_group_id or self.chat_group_id
            self.source, self.supports = event.source, event.supports
        if event.type == HISTORY_TRUNCATED and payload_of(event).get("reason") == "before_attach":
            self.unknown_before = event.seq
        if event.type in SPEECH:
            self.spoke_at = max(elapsed, self._voice_ends)
        if event.type == "user_interruption":
            self.spoke_at = self._voice_ends = elapsed  # the rest of EVI's voice is not played
        self.given.see(event)
        self.turns.see(event, self.given.giver_of(event))
        self.tool_calls.see(event, elapsed)
        self._share.settle()

    def hear(self, message_id: str | None, index: int | None, data: str | None, elapsed: float, *, live: bool) -> None:
        """Takes in a chunk of EVI's voice. It arrives faster than it plays; while it plays, the chat is not silent."""
        if live:
            self._voice_ends = max(self._voice_ends, elapsed) + len(data or "") / AUDIO_CHARS_PER_S
            self.spoke_at = self._voice_ends
        self.audio.keep(message_id, index, data)
        self._share.settle()

    def forget(self) -> None:
        """Stops counting the record against the memory budget; nobody keeps it any more."""
        self._share.close()

    def _take_state(self, event: Event) -> None:
        assert event.state is not None
        self.state, self.reason = State(event.state), event.reason
        self.was_live = self.was_live or self.state is State.LIVE
        self.over_seq = event.seq if self.over else None

    def _shed(self) -> bool:
        """Drops the oldest of what takes most memory. Returns whether it dropped anything."""
        buffers: list[_Buffer] = [self.audio, self.log, self.turns, self.tool_calls]
        kept = sorted(buffers, key=lambda buffer: -buffer.size)
        return any(buffer.drop() for buffer in kept)

    def _dropped(self, event: Event) -> None:
        self.turns.forget(event)
        self.given.forget(event)
        self.outcomes.forget(event)
