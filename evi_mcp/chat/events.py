"""One event of the log: a received message, a change of state, or what an agent did.

The fields are those of the contract's section 4, and mean the same in every view.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

CHAT_STATE = "chat_state"
COMMAND = "command"
PROTOCOL_FAULT = "protocol_fault"
SPEECH = frozenset({"user_message", "assistant_message", "audio_output", "user_interruption"})
"""Types that say that somebody is speaking."""
HIDDEN_TYPES = frozenset({"audio_output", "assistant_prosody"})


@dataclass(slots=True, kw_only=True, eq=False)
class Event:
    """An event; fields that do not apply are `None`.

    `seq` grows over all chats of the process, `at` is when it reached us (Unix seconds), `scores` are all
    that EVI gave (those of an assistant's message come later, with its prosody), `by` is the agent of a command,
    `left_out` counts the characters that a copy of an event was cut by to fit on a page.
    """

    seq: int
    chat_id: str
    at: float
    type: str
    speaker: str | None = None
    text: str | None = None
    scores: Mapping[str, float] | None = None
    interim: bool | None = None
    from_text: bool | None = None
    quick: bool | None = None
    replayed: bool | None = None
    begin_ms: int | None = None
    end_ms: int | None = None
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
    left_out: int | None = None

    @property
    def hidden(self) -> bool:
        """Whether it is left out of a page unless asked for: audio, late prosody, interim transcripts."""
        return self.type in HIDDEN_TYPES or bool(self.interim)

    @property
    def size(self) -> int:
        """Roughly how many characters it holds on to."""
        size = 200 + sum(map(len, filter(None, _texts(self))))
        if self.scores:
            size += 40 * len(self.scores)
        return size + len(str(self.settings)) if self.settings else size


_texts = attrgetter(
    "text", "message_id", "tool_call_id", "name", "parameters", "content", "error", "code", "slug", "reason"
)
