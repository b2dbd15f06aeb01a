"""The first frame of a link, read with all its checks."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evi_mcp.errors import InvalidChatId
from evi_mcp.hub.json_frames import write
from evi_mcp.protocol.chat_id import check_chat_id

PROTOCOL = 1
MAX_SOURCE_BYTES = 4 * 2**10
MAX_METADATA_BYTES = 64 * 2**10
MAX_SUPPORTS = 50

_COMMAND = re.compile(r"[a-z_]{1,64}")


class HelloRefused(Exception):
    """A bot that cannot be let in; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Resume:
    """What a bot that comes back says: `sent` is the highest number that it has sent; `tells_past`: a hub that does not
    know the chat is told all of it, and then `caught_up`."""

    chat_id: str
    token: str
    sent: int
    tells_past: bool = False


@dataclass(frozen=True, slots=True)
class Hello:
    """What a bot says of itself. `supports` is `None` for all of EVI's commands."""

    chat_id: str | None
    chat_group_id: str | None
    source: str | Mapping[str, Any]
    supports: frozenset[str] | None
    metadata: str | Mapping[str, Any] | None
    resume: Resume | None


def read_hello(value: Mapping[str, Any]) -> Hello:
    """The hello in a frame.

    Raises:
        HelloRefused: It is none, or a field cannot be used.
    """
    if value.get("type") != "hello":
        raise HelloRefused('the first frame must be {"type": "hello", ...}')
    if value.get("protocol") != PROTOCOL:
        raise HelloRefused(f'this hub speaks "protocol": {PROTOCOL} only')
    return Hello(
        _id(value, "chat_id"),
        _id(value, "chat_group_id"),
        _source(value.get("source")),
        _supports(value.get("supports")),
        _metadata(value.get("metadata")),
        _resume(value.get("resume")),
    )


def _id(value: Mapping[str, Any], name: str) -> str | None:
    found = value.get(name)
    if found is None:
        return None
    try:
        return check_chat_id(found if isinstance(found, str) else "")
    except InvalidChatId:
        raise HelloRefused(f"{name} must be 1 to 128 letters, digits, '-', '_' or '.'") from None


def _source(value: Any) -> str | Mapping[str, Any]:
    if value is None:
        return "custom"
    named = value.get("name") if isinstance(value, dict) else value
    if not isinstance(named, str) or not named.strip() or len(write({"source": value})) > MAX_SOURCE_BYTES:
        raise HelloRefused('source must be a short name, or an object with a "name"')
    found: str | Mapping[str, Any] = value
    return found


def _supports(value: Any) -> frozenset[str] | None:
    if value is None:
        return None
    if (
        not isinstance(value, list)
        or len(value) > MAX_SUPPORTS
        or not all(isinstance(kind, str) and _COMMAND.fullmatch(kind) for kind in value)
    ):
        raise HelloRefused("supports must be a list of the types of commands, such as user_input")
    return frozenset(value)


def _metadata(value: Any) -> str | Mapping[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict | str) or len(write({"metadata": value})) > MAX_METADATA_BYTES:
        raise HelloRefused(f"metadata must be an object, or text, of at most {MAX_METADATA_BYTES} bytes")
    return value


def _resume(value: Any) -> Resume | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise HelloRefused("resume must be an object with chat_id, token and sent")
    chat_id, token, sent = _id(value, "chat_id"), value.get("token"), count_of(value.get("sent"))
    if chat_id is None or not isinstance(token, str) or sent is None:
        raise HelloRefused("resume must be an object with chat_id, token and sent")
    return Resume(chat_id, token, sent, value.get("tells_past") is True)


def count_of(value: Any) -> int | None:
    """The value, if it is a whole number that can number messages."""
    return value if type(value) is int and 0 <= value < 2**53 else None
