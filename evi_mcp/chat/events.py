"""One event of the log: a received message, a change of state, or what somebody did.

The fields are those of docs/contract.md, section 4, and mean the same in every view. An event never changes. What comes
later about it (the expression of its voice, the end of a tool call) is stored separately, and joined when it is shown.
"""

import json
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import msgspec

from evi_mcp.chat.memory import size_of
from evi_mcp.protocol.entries import Entry
from evi_mcp.protocol.messages import KNOWN_TYPES

CHAT_STATE = "chat_state"
CHAT_METADATA = "chat_metadata"
COMMAND = "command"
PROTOCOL_FAULT = "protocol_fault"
HISTORY_TRUNCATED = "history_truncated"
"""Says that part of the history is missing. A hub's type, not EVI's."""
OURS = frozenset({CHAT_STATE, COMMAND, PROTOCOL_FAULT})
"""The types that are this server's own."""
KNOWN = frozenset({*KNOWN_TYPES, *OURS})
SPEECH = frozenset({"user_message", "assistant_message", "audio_output", "user_interruption"})
"""Types that show that somebody is speaking."""
MINOR_TYPES = frozenset({"audio_output", "assistant_prosody", "user_prosody"})
QUIET_TYPES = frozenset({"assistant_end", CHAT_METADATA})
"""Types that tell a reader nothing that the other events do not."""
HIDDEN_TYPES = MINOR_TYPES | QUIET_TYPES

EVENT_BYTES = 400
"""The bytes that an event takes in addition to its texts, roughly; includes its ids and names."""
SCORE_BYTES = 8


class Event(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """An event; fields that do not apply are `None`.

    `seq` grows over all chats, with holes; it is 0 until the ledger has numbered the event. `at` is when it reached us
    (Unix seconds), `happened_at` when it happened, if the service says so. `scores` are those that came with the
    message; the scores of an assistant's voice come as an event of their own (`ChatRecord.scores_of`). `by` is who gave
    a command: the name that a client claims, or, if `by_kind` is `server`, our own words. `signature` tells that
    caller's own commands from those of others; no view shows it. `left_out` is the number of characters that were cut
    from a copy to fit a page. `count` is the number of events of an unknown type that this one, the newest of them,
    stands for.
    """

    seq: int = 0
    chat_id: str
    at: float
    type: str
    speaker: str | None = None
    text: str | None = None
    scores: Mapping[str, float] | None = None
    interim: bool | None = None
    from_text: bool | None = None
    quick: bool | None = None
    asked_text: str | None = None
    reworded: bool | None = None
    heard: str | None = None
    heard_ms: int | None = None
    happened_at: float | None = None
    late: bool | None = None
    replayed: bool | None = None
    begin_ms: int | None = None
    end_ms: int | None = None
    chat_group_id: str | None = None
    source: str | None = None
    supports: tuple[str, ...] | None = None
    message_id: str | None = None
    tool_call_id: str | None = None
    name: str | None = None
    parameters: str | None = None
    response_required: bool | None = None
    content: str | None = None
    error: str | None = None
    code: str | None = None
    slug: str | None = None
    settings: dict[str, Any] | None = None
    state: str | None = None
    command: str | None = None
    reason: str | None = None
    by: str | None = None
    by_kind: str | None = None
    signature: str | None = None
    left_out: int | None = None
    count: int | None = None

    @property
    def hidden(self) -> bool:
        """Whether a page leaves it out unless asked for it: audio, late prosody, interim transcripts, metadata, and
        ends of EVI's turns that do not say how much was heard."""
        return (self.type in HIDDEN_TYPES and self.heard is None) or bool(self.interim)

    @property
    def minor(self) -> bool:
        """Whether a full log drops it before speech, tool calls and commands: audio, late prosody, interim transcripts,
        unreadable frames and unknown types."""
        return self.type in MINOR_TYPES or bool(self.interim) or self.type == PROTOCOL_FAULT or self.type not in KNOWN

    @property
    def size(self) -> int:
        """How many bytes the event takes, its texts in UTF-8."""
        size = EVENT_BYTES
        for text in _texts(self):
            if text:
                size += size_of(text)
        if self.scores:
            size += SCORE_BYTES * len(self.scores)
        return size + size_of(json.dumps(self.settings, default=str)) if self.settings else size


_texts = attrgetter("text", "asked_text", "message_id", "parameters", "content", "error", "reason")


def payload_of(event: Event) -> Mapping[str, Any]:
    """The fields of a message of an unknown type; empty if the message was too long to be kept whole."""
    try:
        found = json.loads(event.content or "")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class Draft(msgspec.Struct, frozen=True, gc=False):
    """An event without a number yet, and the identity to keep with it; `None` if it has none, or none is kept."""

    event: Event
    identity: Entry | None = None
