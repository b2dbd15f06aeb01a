"""What the service's objects hold, read with care: any field may be missing, of another type, or new."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

Object = Mapping[str, Any]
Message = dict[str, Any]

MAX_TEXT = 256 * 2**10
"""The longest text of one field that is read, in characters."""

_NOTHING: Object = {}


def text(value: Object, name: str) -> str:
    """The text in a field; empty if there is none."""
    found = value.get(name)
    return found[:MAX_TEXT] if isinstance(found, str) else ""


def thing(value: Object, name: str) -> Object:
    """The object in a field; an empty one if there is none."""
    found = value.get(name)
    return found if isinstance(found, dict) else _NOTHING


def things(value: Object, name: str) -> list[Object]:
    """The objects in a list."""
    found = value.get(name)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def whole(value: Object, name: str) -> int | None:
    """The whole number in a field, such as milliseconds; `None` if there is none."""
    found = value.get(name)
    return found if type(found) is int and 0 <= found < 2**53 else None


Kind = Literal["speech", "typed", "system", "assistant", "call", "output", "mcp_call", "other"]


def kind_of(item: Object) -> Kind:
    """What an item of the conversation is: `speech` and `typed` are the caller's."""
    match item.get("type"):
        case "message":
            match item.get("role"):
                case "user":
                    parts = {text(part, "type") for part in things(item, "content")}
                    return "speech" if "input_audio" in parts or not parts else "typed"
                case "system":
                    return "system"
                case "assistant":
                    return "assistant"
            return "other"
        case "function_call":
            return "call"
        case "function_call_output":
            return "output"
        case "mcp_call":
            return "mcp_call"
    return "other"


def words_of(item: Object) -> str:
    """The words of a message, written or transcribed; empty if there are none, or none yet."""
    return " ".join(filter(None, (_words(part) for part in things(item, "content")))).strip()


def is_voiced(item: Object) -> bool:
    """Whether a message of the assistant is sound, and not text alone."""
    return any(text(part, "type") in ("output_audio", "audio") for part in things(item, "content"))


def _words(part: Object) -> str:
    if text(part, "type") == "input_image":
        return "[image]"
    return text(part, "text") or text(part, "transcript")


def is_complete(item: Object) -> bool:
    """Whether nothing more comes of an item; one that was cut is `incomplete`, and complete in this sense."""
    return item.get("status") in ("completed", "incomplete")


def settled(item: Object) -> Object:
    """An item of which the service says that it is done; without a status it is `completed`."""
    return item if is_complete(item) else {**item, "status": item.get("status") or "completed"}


def tool_call_of(item: Object) -> Message:
    """The `tool_call` for a `function_call` item."""
    return {
        "type": "tool_call",
        "tool_call_id": text(item, "call_id"),
        "name": text(item, "name"),
        "parameters": text(item, "arguments"),
        "response_required": True,
        "tool_type": "function",
        "item_id": text(item, "id"),
    }


def tool_output_of(item: Object) -> Message:
    """The `tool_response` for a `function_call_output` item, whoever wrote it."""
    return {
        "type": "tool_response",
        "tool_call_id": text(item, "call_id"),
        "content": text(item, "output"),
        "item_id": text(item, "id"),
    }


def mcp_call_of(item: Object) -> Iterator[Message]:
    """A tool that the service has run by itself: the call, and what came of it."""
    call_id, name = text(item, "id"), text(item, "name")
    yield {
        "type": "tool_call",
        "tool_call_id": call_id,
        "name": name,
        "parameters": text(item, "arguments"),
        "response_required": False,
        "tool_type": "builtin",
    }
    if error := thing(item, "error"):
        said = text(error, "message") or text(error, "type") or "it failed"
        yield {"type": "tool_error", "tool_call_id": call_id, "error": said, "tool_type": "builtin"}
    elif isinstance(item.get("output"), str):
        yield {
            "type": "tool_response",
            "tool_call_id": call_id,
            "tool_name": name,
            "tool_type": "builtin",
            "content": text(item, "output"),
        }


def same_words(one: str, other: str) -> bool:
    """Whether two texts have the same words in the same order; case and punctuation are no words."""
    return _plain(one) == _plain(other)


def _plain(said: str) -> list[str]:
    kept = (("".join(sign for sign in word if sign.isalnum())) for word in said.casefold().split())
    return [word for word in kept if word]
