"""What makes two received messages the same event.

EVI gives events no common id and no sequence number, and replays the whole chat on every connection, so
identity has to be read off the content. Some events have one of their own: an id, or a position in the
audio. The others are only alike, and `history` tells them apart by counting. Scores and request ids are
never part of it: whether a replay repeats them exactly is not documented.
"""

import json
from typing import Any, NamedTuple

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
)


class Identity(NamedTuple):
    """`digest` is equal for equal events. `own`: it names one event; else it names all that look alike.

    `type` is what a replay may leave out as a whole: EVI's type, but that interim transcripts are one by themselves.
    """

    type: str
    digest: int
    own: bool


def identify(message: Message) -> Identity:
    """The identity of a message as received."""
    facts, own = _facts(message)
    kind = INTERIM if isinstance(message, UserMessage) and message.interim else message.type
    return Identity(kind, _digest(message.type, facts), own)


def identify_fast(message: FastMessage) -> Identity:
    """The same for a message that was decoded fast: it may come back in a form that cannot be."""
    match message.type:
        case "user_message":
            kind = INTERIM if message.interim else message.type
            facts, own = _utterance(message.interim, message.from_text, message.begin, message.end, message.content)
            return Identity(kind, _digest(message.type, facts), own)
        case "assistant_message":
            return Identity(message.type, _digest(message.type, (message.id, message.content, message.from_text)), True)
        case "audio_output":
            return Identity(message.type, _digest(message.type, (message.id, message.number)), True)
        case "assistant_prosody":
            return Identity(message.type, _digest(message.type, message.id), True)
        case _:
            return Identity(message.type, _digest(message.type, None), False)


def _utterance(
    interim: bool, from_text: bool, begin: int | None, end: int | None, content: str | None
) -> tuple[Any, bool]:
    # Typed messages have no voice and so no position of their own: two equal ones are two events.
    return (interim, from_text, begin, end, content), not from_text and begin is not None and end is not None


def _facts(message: Message) -> tuple[Any, bool]:
    """What identifies the message, and whether that names one event only."""
    match message:
        case UserMessage():
            begin, end = (message.time.begin, message.time.end) if message.time else (None, None)
            content = message.message.content if message.message else None
            return _utterance(message.interim, message.from_text, begin, end, content)
        case AssistantMessage():
            content = message.message.content if message.message else None
            return (message.id, content, message.from_text), message.id is not None
        case AudioOutput():
            return (message.id, message.index), message.id is not None and message.index is not None
        case AssistantProsody():
            return message.id, message.id is not None
        case ToolCall():
            return message.tool_call_id, message.tool_call_id is not None
        case ToolResponse():
            return (message.tool_call_id, message.content), message.tool_call_id is not None
        case ToolError():
            # One call can fail twice: by a client's answer, and by EVI's word that another one was late.
            return (message.tool_call_id, message.error, message.content), message.tool_call_id is not None
        case UserInterruption():
            # The unit is not documented. If it is seconds, two in one second are taken for one.
            return message.time, message.time is not None
        case ChatMetadata():
            return message.chat_id, True  # `request_id` names the connection, not the event
        case ErrorMessage():
            return (message.code, message.slug, message.message), False
        case SessionSettings():
            return message.shown, False
        case UnknownMessage():
            return message.payload, False
        case ProtocolFault():
            return message.digest, False
        case _:  # assistant_end: nothing but its type
            return None, False


def _digest(kind: str, facts: Any) -> int:
    """64 bits: two of a million events of one chat collide with a probability below 1 in 10 million.

    Python's own hash of a text, which is keyed anew in every process: nobody can make two collide on purpose.
    """
    return hash(f"{kind} {_sorted(facts) if isinstance(facts, dict) else repr(facts)}")


_sorted = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str).encode

INTERIM = "interim user_message"
