"""Turns a received message into the fields of an event, with long texts cut, and ids and names bounded."""

import json
from collections.abc import Mapping
from typing import Any

from evi_mcp.protocol.cutting import MAX_TEXT, cut_name, cut_text
from evi_mcp.protocol.fast_decode import FastMessage
from evi_mcp.protocol.messages import (
    AssistantEnd,
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
from evi_mcp.protocol.parts import Inference, json_text
from evi_mcp.protocol.prosody import SCORE_NAMES
from evi_mcp.protocol.scores import Scores

MAX_SCORES, MAX_SCORE_NAME = 100, 40
"""Limits of the scores of one message; EVI has 48, with names of up to 22 characters."""

_EARLIEST_S, _LATEST_S = 1_577_836_800, 4_102_444_800
"""The years 2020 to 2100."""

_EVIS = frozenset(SCORE_NAMES)


def facts_of(message: Message) -> dict[str, Any]:
    """The fields of the message's `Event`, without `seq`, `chat_id`, `at` and `replayed`."""
    facts: dict[str, Any] = {"type": cut_name(message.type)}
    match message:
        case UserMessage():
            facts |= _spoken("user", message) | _timed(message)
            facts |= {"interim": message.interim or None, "late": message.late or None}
            facts["message_id"] = _name(message.id)
        case AssistantMessage():
            facts |= _spoken("assistant", message)
            facts |= {"message_id": _name(message.id), "quick": message.is_quick_response or None}
            facts |= {"asked_text": _kept(message.asked_text), "reworded": message.reworded or None}
            facts |= {"heard": _name(message.heard), "late": message.late or None}
        case UserInterruption() | AssistantEnd():
            facts |= {"heard": _name(message.heard), "heard_ms": message.heard_ms}
            facts["happened_at"] = _unix(message.time) if isinstance(message, UserInterruption) else None
        case ChatMetadata():
            facts |= {
                "chat_group_id": _name(message.chat_group_id),
                "source": _name(message.source),
                "supports": None if message.supports is None else tuple(map(cut_name, message.supports)),
            }
        case AssistantProsody() | UserProsody():
            speaker = message.type.removesuffix("_prosody")
            facts |= {"speaker": speaker, "message_id": _name(message.id), "scores": _scores(message.models)}
        case AudioOutput():
            facts |= {"speaker": "assistant", "message_id": _name(message.id)}
        case ToolCall():
            facts |= {
                "tool_call_id": _name(message.tool_call_id),
                "name": _name(message.name),
                "parameters": _kept(message.parameters),
                "response_required": message.response_required,
            }
        case ToolResponse():
            facts |= {
                "tool_call_id": _name(message.tool_call_id),
                "name": _name(message.tool_name),
                "content": _kept(message.content),
            }
        case ToolError():
            facts |= {
                "tool_call_id": _name(message.tool_call_id),
                "error": _kept(message.error),
                "content": _kept(message.content),
                "code": _name(message.code),
            }
        case ErrorMessage():
            facts |= {
                "code": _name(message.code),
                "slug": _name(message.slug),
                "error": _kept(message.message),
                "command": _name(message.command),
                "tool_call_id": _name(message.tool_call_id),
            }
        case SessionSettings():
            large = len(json.dumps(message.shown, default=str)) > MAX_TEXT
            facts["settings"] = {"too_large": "these settings were not kept"} if large else message.shown
        case ProtocolFault():
            unit = "byte" if message.size == 1 else "bytes"
            facts["reason"] = f"{message.reason} ({message.size} {unit})"
        case UnknownMessage():
            facts["content"] = cut_text(json_text(message.payload))
    return facts


def facts_of_fast(message: FastMessage) -> dict[str, Any]:
    """The same for a message that was decoded fast."""
    kind = message.type
    if kind == "user_message":
        return {
            "type": kind,
            "speaker": "user",
            "text": _kept(message.content),
            "message_id": _name(message.id),
            "scores": message.scores,
            "from_text": message.from_text or None,
            "interim": message.interim or None,
            "begin_ms": message.begin,
            "end_ms": message.end,
        }
    if kind == "assistant_end":
        return {"type": kind}
    facts: dict[str, Any] = {"type": kind, "speaker": "assistant", "message_id": _name(message.id)}
    if kind == "assistant_prosody":
        facts["scores"] = message.scores
    elif kind == "assistant_message":
        facts |= {
            "text": _kept(message.content),
            "scores": message.scores,
            "from_text": message.from_text or None,
            "quick": message.quick or None,
        }
    return facts


def _spoken(speaker: str, message: UserMessage | AssistantMessage) -> dict[str, Any]:
    return {
        "speaker": speaker,
        "text": _kept(message.message.content if message.message else None),
        "scores": _scores(message.models),
        "from_text": message.from_text or None,
    }


def _timed(message: UserMessage) -> dict[str, Any]:
    return {"begin_ms": message.time.begin, "end_ms": message.time.end} if message.time else {}


def _unix(time: float | None) -> float | None:
    """A time of EVI's as Unix seconds; Hume does not state its unit. `None` if it cannot be a time of a call."""
    if time is None:
        return None
    seconds = time / 1000 if time > _LATEST_S else time
    return float(seconds) if _EARLIEST_S <= seconds <= _LATEST_S else None


def _scores(models: Inference | None) -> Mapping[str, float] | None:
    """The scores. If all have EVI's own names they are packed, and not searched for secrets."""
    if models is None or models.prosody is None or not models.prosody.scores:
        return None
    scores: dict[str, float] = models.prosody.scores
    if scores.keys() <= _EVIS:
        return Scores(scores)
    if len(scores) > MAX_SCORES or any(len(name) > MAX_SCORE_NAME for name in scores):
        return {cut_name(name, MAX_SCORE_NAME): score for name, score in list(scores.items())[:MAX_SCORES]}
    return scores


def _name(text: str | None) -> str | None:
    return cut_name(text) if text is not None else None


def _kept(text: str | None) -> str | None:
    return cut_text(text) if text is not None else None
