"""A line on stdin, read as a message of JSON-RPC; a message, written as a line for stdout. Without I/O.

Every line that asks for something gets an answer, also one that cannot be read: its id is looked for. Without an answer
stay, and may: notifications, responses (this server asks for nothing), whatever looks like a response, blank lines.

Sources: JSON-RPC 2.0, sections 4 and 5; MCP 2025-11-25, "Messages" (an id is a string or an integer, and never null)
and "Transports" (one message a line, UTF-8).
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from mcp_types import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    PARSE_ERROR,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError
from pydantic_core import from_json

MAX_SCANNED = 2**20
"""Bytes of an unreadable line in which its id is looked for,"""
MAX_TOKENS = 50_000
"""and tokens; beyond, at the very end of the line, where some clients put it."""
END = 4096
"""How many of its last bytes those are."""
LARGE = 64 * 1024
"""Bytes of a batch that is not even looked into, but for ids."""
MAX_ID = 64 * 1024
"""The longest id that is repeated, in bytes."""

PROBE, HANDSHAKE = "server/discover", "initialize"
"""What a client may ask first: which versions there are, or for a connection of the era before 2026."""

NO_BATCHES = "JSON-RPC batches are not read (MCP has none since 2025-06-18): send each message as a line of its own"

_BOM = b"\xef\xbb\xbf"
_FRAMING = re.compile(rb"content-(length|type)\s*:", re.IGNORECASE)
_TOKEN = re.compile(rb'\s*(?:("[^"\\]*(?:\\.[^"\\]*)*")|([{\[])|([}\]])|(:)|(,)|([^\s"{}\[\]:,]+))')
_NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_ID_AT_END = re.compile(
    rb'"id"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*"|-?[0-9]+)\s*(?:,\s*"(?:jsonrpc|method)"\s*:\s*"[^"\\]*"\s*)*\}\s*$'
)
_LINE_BREAKS = [(character.encode(), f"\\u{ord(character):04x}".encode()) for character in "\x85\u2028\u2029"]
"""What some clients split lines at, beside what JSON escapes in any case (Python's `str.splitlines`, JavaScript)."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line that is no message. `answers` are lines for stdout: one for each request in it, or one for all of it."""

    why: str
    answers: list[bytes]


def read(line: bytes) -> JSONRPCMessage | Unreadable | None:
    """What a line says, with or without its end; `None` if it is blank."""
    text = line.removeprefix(_BOM).strip()
    if not text:
        return None
    if text.startswith(b"[") and len(text) > LARGE:
        return _refused(text, INVALID_REQUEST, NO_BATCHES)  # to read all of it first would hold everybody up
    try:
        message = jsonrpc_message_adapter.validate_json(text, by_name=False)
    except ValidationError as error:
        return _unreadable(text, error)
    if isinstance(message, JSONRPCRequest):
        return message
    # The model of a notification takes any object with a method, and so a request whose id is none.
    given = from_json(text)
    if isinstance(message, JSONRPCNotification):
        fine = "id" not in given or (given["id"] is None and message.method.startswith("notifications/"))
    else:
        fine = "method" not in given
    return message if fine else _refused(text, INVALID_REQUEST, _fault(given))


def begins(line: bytes | tuple[bytes, bytes]) -> bool:
    """Whether a line asks for a connection of the era before 2026."""
    if not isinstance(line, bytes) or HANDSHAKE.encode() not in line:
        return False
    message = read(line)
    return isinstance(message, JSONRPCRequest) and message.method == HANDSHAKE


def too_long(beginning: bytes, end: bytes, most: int) -> Unreadable:
    """What is answered to a line of which no more than its two ends was kept."""
    return _refused(beginning + end, PARSE_ERROR, f"the line is longer than {most} bytes, and was not read")


def written(message: JSONRPCMessage) -> bytes:
    """The message as one line, whoever splits it; it has an answer in it whatever a handler has made."""
    try:
        text = message.model_dump_json(by_alias=True, exclude_unset=True).encode()
    except ValueError:  # half a surrogate pair, or what JSON has no word for
        text = _salvaged(message)
    for character, escape in _LINE_BREAKS:
        text = text.replace(character, escape)
    return text + b"\n"


def _salvaged(message: JSONRPCMessage) -> bytes:
    try:
        given = json.dumps(message.model_dump(by_alias=True, exclude_unset=True))
        plain = json.loads(given, parse_constant=lambda _: None)
        return json.dumps(plain, ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, TypeError, RecursionError):
        id = message.id if isinstance(message, JSONRPCResponse | JSONRPCError) else None
        return _error(json.dumps(id), INTERNAL_ERROR, "the answer cannot be written as JSON")[:-1]


def _unreadable(text: bytes, error: ValidationError) -> Unreadable:
    problem = error.errors(include_url=False, include_input=False)[0]
    if problem["type"] == "json_invalid":
        return _refused(text, PARSE_ERROR, _no_json(text, str(problem.get("ctx", {}).get("error", ""))))
    return _refused(text, INVALID_REQUEST, _fault(from_json(text)))


def _no_json(text: bytes, said: str) -> str:
    if _FRAMING.match(text):
        return "MCP on stdio has no Content-Length framing: send each message as one line of JSON"
    if text.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in text[:4]:
        return "the line is not UTF-8, it looks like UTF-16: send UTF-8"
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return f"the line is not UTF-8, from byte {error.start} on"
    if "recursion" in said:
        return "the line is nested too deeply to be read"
    if "surrogate" in said or "hex escape" in said:
        return "the line has half a surrogate pair in a string (half an emoji?), which is no Unicode text"
    return f"the line is not JSON ({said}): send each message as one line of JSON"


def _fault(given: Any) -> str:
    """What keeps a JSON value from being a message."""
    match given:
        case list():
            return NO_BATCHES
        case {"jsonrpc": "2.0"}:
            pass
        case dict():
            return 'jsonrpc has to be "2.0"'
        case _:
            return "a message is a JSON object"
    if "method" not in given:
        is_answer = "result" in given or "error" in given
        return "it is no answer that this server waits for" if is_answer else "there is no method"
    if not isinstance(given["method"], str):
        return "method has to be a string"
    if not isinstance(given.get("params"), dict | None):
        return "params has to be an object"
    if "result" in given or "error" in given:
        return "it has a method as a request has, and a result or an error as an answer has"
    return "id has to be a string or an integer"


@dataclass(slots=True)
class _Object:
    """An object of a line that may be a request."""

    keys: set[bytes] = field(default_factory=set)
    id: bytes | None = None
    """As it stands there."""

    @property
    def is_answer(self) -> bool:
        return b'"method"' not in self.keys and bool(self.keys & {b'"result"', b'"error"'})


def _refused(text: bytes, code: int, why: str) -> Unreadable:
    objects, complete = _objects_in(text[:MAX_SCANNED])
    whole = complete and len(text) <= MAX_SCANNED
    if len(objects) == 1 and objects[0].id is None and not whole and (found := _ID_AT_END.search(text[-END:])):
        objects[0].id = found[1]
    asking = [one for one in objects if not one.is_answer]
    if objects and not asking:
        return Unreadable(why, [])
    ids = [id for one in asking if (id := _repeatable(one.id)) is not None]
    return Unreadable(why, [_error(id, code, why) for id in ids or ["null"]])


def _objects_in(text: bytes) -> tuple[list[_Object], bool]:
    """The objects of a line, those in a batch included, and whether all of it was looked at."""
    found: list[_Object] = []
    depth, base = 0, 2 if text.startswith(b"[") else 1
    last = key = b""
    at = 0
    for _ in range(MAX_TOKENS):
        token = _TOKEN.match(text, at)
        if token is None:
            return found, not text[at:].strip()  # else it ends within a string
        at = token.end()
        string, opens, closes, colon, comma, other = token.groups()
        if opens:
            depth += 1
            if depth == base and opens == b"{":
                found.append(_Object())
            key = b""  # its value is neither a string nor a number
        elif closes:
            depth -= 1
        elif depth != base or not found:
            continue
        elif colon:
            key = last
            found[-1].keys.add(key)
        elif comma:
            key = b""
        else:
            last = string or other
            if key == b'"id"':
                found[-1].id = last
    return found, False


def _repeatable(id: bytes | None) -> str | None:
    """The id as an answer can repeat it; `None` if it is none."""
    if id is None or len(id) > MAX_ID:
        return None
    if _NUMBER.fullmatch(id):
        return id.decode()
    try:
        given = json.loads(id)
    except ValueError:
        return None
    return json.dumps(given) if isinstance(given, str) else None


def _error(id: str, code: int, why: str) -> bytes:
    return f'{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{json.dumps(why)}}}}}\n'.encode()
