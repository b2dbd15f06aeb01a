"""What makes two received messages the same event.

EVI gives events no common id and no sequence number, and replays the whole chat on every connection, so an
event is identified by its content. Some events have an identity of their own: an id, or a time in the chat's audio.
Others can be equal, and `history` tells them apart by their places. Scores and request ids never count: EVI does not
document that a replay repeats them exactly. An id that is empty or missing, and a time of zero, identify nothing.
"""

import json
from hashlib import blake2b
from typing import NamedTuple

from evi_mcp.protocol.fast_decode import FastMessage
from evi_mcp.protocol.messages import (
    AssistantMessage,
    AssistantProsody,
    AudioOutput,
    ChatMetadata,
    ErrorMessage,
    Message,
    ProtocolFault,
    SessionSettings,
    ToolCall,
    ToolError,
    ToolResponse,
    UnknownMessage,
    UserInterruption,
    UserMessage,
    UserProsody,
)

INTERIM = "interim user_message"
"""The type of interim transcripts in an identity: a replay may leave them out and still hold the final ones."""
MAX_TYPE = 60
"""The longest type that an identity keeps as it is, in characters; a longer one is kept as its digest."""


class Identity(NamedTuple):
    """`digest` is equal for equal events. `own`: only one event has this digest, unless the service uses an id twice;
    otherwise all events that look alike share it.

    `type` is what a replay may leave out as a whole: EVI's type, or `INTERIM`.
    """

    type: str
    digest: int
    own: bool


class Identities:
    """Makes identities. With the same salt they are the same in every process, so that they can be stored.

    Args:
        salt: Up to 64 bytes that the speakers of a chat do not know: with a known salt, somebody could make two
            messages with one digest, and so hide one of them in a replay.
    """

    def __init__(self, salt: bytes = b"") -> None:
        self._keyed = blake2b(digest_size=8, key=salt)  # copied for each message: half the cost of a new one

    def of(self, message: Message) -> Identity:
        """The identity of a message as received."""
        text, own = _identifying(message)
        interim = isinstance(message, UserMessage) and message.interim
        return Identity(INTERIM if interim else self._bounded(message.type), self._digest(text), own)

    def of_fast(self, message: FastMessage) -> Identity:
        """The same for a message that was decoded fast: a replay may bring it in a form that needs the slow decoder."""
        kind = message.type
        if kind == "user_message":
            text, own = _utterance(message.interim, message.from_text, message.begin, message.end, message.content)
            return Identity(INTERIM if message.interim else kind, self._digest(text), own)
        if kind == "assistant_message":
            text = _assistant(message.id, message.content, message.from_text)
        elif kind == "audio_output":
            text = _audio(message.id, message.number)
        elif kind == "assistant_prosody":
            text = _prosody(kind, message.id)
        else:
            return Identity(kind, self._digest(kind), False)
        return Identity(kind, self._digest(text), bool(message.id))

    def _digest(self, text: str) -> int:
        """64 bits: two of a million events of one chat collide with a probability below 1 in 10 million."""
        hasher = self._keyed.copy()
        hasher.update(text.encode("utf-8", "surrogatepass"))
        return int.from_bytes(hasher.digest(), "little")

    def _bounded(self, kind: str) -> str:
        return kind if len(kind) <= MAX_TYPE else f"{self._digest(kind):x}"


# Each of these texts begins with the type, and two different events never have the same text: only the last part is
# free text, the others are numbers, or state their length.


def _utterance(
    interim: bool, from_text: bool, begin: int | None, end: int | None, content: str | None
) -> tuple[str, bool]:
    # Typed messages have no voice and so no position of their own: two equal ones are two events.
    spoken = not from_text and begin is not None and end is not None and not begin == end == 0
    return f"user_message {interim:d}{from_text:d} {begin} {end} {_last(content)}", spoken


def _assistant(id: str | None, content: str | None, from_text: bool) -> str:
    return f"assistant_message {from_text:d} {_part(id)}{_last(content)}"


def _audio(id: str | None, index: int | None) -> str:
    return f"audio_output {index} {_last(id)}"


def _prosody(kind: str, id: str | None) -> str:
    return f"{kind} {_last(id)}"


def _identifying(message: Message) -> tuple[str, bool]:
    """The text that identifies the message, and whether it names one event only."""
    match message:
        case UserMessage():
            begin, end = (message.time.begin, message.time.end) if message.time else (None, None)
            content = message.message.content if message.message else None
            return _utterance(message.interim, message.from_text, begin, end, content)
        case AssistantMessage():
            content = message.message.content if message.message else None
            return _assistant(message.id, content, message.from_text), bool(message.id)
        case AudioOutput():
            return _audio(message.id, message.index), bool(message.id) and message.index is not None
        case AssistantProsody() | UserProsody():
            return _prosody(message.type, message.id), bool(message.id)
        case ToolCall():
            # Some providers number the calls of each turn from 0: name and parameters tell most of these apart.
            asked = _part(message.name) + _canonical(message.parameters)
            return f"tool_call {_part(message.tool_call_id)}{asked}", bool(message.tool_call_id)
        case ToolResponse():
            return f"tool_response {_part(message.tool_call_id)}{_last(message.content)}", bool(message.tool_call_id)
        case ToolError():
            # One call can fail twice: by a client's answer, and by EVI's error that another answer was late.
            failure = _part(message.error) + _last(message.content)
            return f"tool_error {_part(message.tool_call_id)}{failure}", bool(message.tool_call_id)
        case UserInterruption():
            return f"user_interruption {message.time}", bool(message.time)
        case ChatMetadata():
            # `request_id` names the connection, not the event
            said = f"{_part(message.chat_id)}{_part(message.source)}{_sorted(message.supports)}"
            return f"chat_metadata {said}", bool(message.chat_id)
        case ErrorMessage():
            return f"error {_part(message.code)}{_part(message.slug)}{_last(message.message)}", False
        case SessionSettings():
            return f"session_settings {_sorted(message.shown)}", False
        case UnknownMessage():
            return f"? {_part(message.type)}{_sorted(message.payload)}", False
        case ProtocolFault():
            return f"protocol_fault {message.digest}", False
        case _:  # assistant_end: nothing but its type
            return message.type, False


def _part(text: str | None) -> str:
    """A text with others after it."""
    return "-" if text is None else f"{len(text)}:{text}"


def _last(text: str | None) -> str:
    """The last text."""
    return "" if text is None else f"={text}"


_sorted = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str).encode


def _canonical(parameters: str | None) -> str:
    """JSON text in one spelling: a service that stores values may write them in another order or spacing."""
    try:
        return _sorted(json.loads(parameters or ""))
    except (ValueError, RecursionError):
        return _last(parameters)


_unsalted = Identities()
identify = _unsalted.of
"""The identity of a message without a salt: to compare, not to store."""
identify_fast = _unsalted.of_fast
