"""Frames to messages. Decoding never raises.

A message is a JSON object with a string `type`, in a text or a binary frame, with or without a byte order mark; all
other fields are optional. Any other frame becomes a `ProtocolFault`. A value of a wrong type is converted if that is
possible, and left out if not; the rest of the message is read.
"""

import hashlib
import json
from typing import Any

import pydantic_core
from pydantic import ConfigDict, TypeAdapter, ValidationError

from evi_mcp.protocol.messages import KNOWN_TYPES, Message, ProtocolFault, SubscribeMessage, UnknownMessage, shown_type
from evi_mcp.protocol.parts import MAX_SCORE
from evi_mcp.protocol.redaction import redact

MAX_FRAME_BYTES = 16 * 2**20
"""The largest frame accepted or sent, in bytes. Hume's FAQ states 16 MB."""

MAX_DIGITS = 400
"""An integer with more digits is read as text if the JSON is imperfect or the frame is very large: reading digits takes
quadratic time, and Python refuses more than 4,300."""

_BYTE_ORDER_MARK = "\ufeff"
_known: TypeAdapter[Message] = TypeAdapter(SubscribeMessage, config=ConfigDict(defer_build=True))


def decode(frame: str | bytes) -> Message:
    """The message in a frame; `ProtocolFault` if there is none.

    Args:
        frame: A text frame, or the payload of a binary one.
    """
    text = text_of(frame)
    if text is None:
        return fault(frame, "a binary frame that is not UTF-8")
    try:
        return _known.validate_json(text)
    except (ValidationError, ValueError, RecursionError):
        pass
    try:
        value = load_json(text)
    except (ValueError, RecursionError):
        return fault(frame, "not JSON")
    return message_of(value) or fault(frame, what_is_wrong_with(value))


def text_of(frame: str | bytes) -> str | None:
    """The text of a frame, without a byte order mark; `None` for bytes that are no UTF-8."""
    if isinstance(frame, bytes):
        try:
            frame = frame.decode()
        except UnicodeDecodeError:
            return None
    return frame.removeprefix(_BYTE_ORDER_MARK)


def message_of(value: Any) -> Message | None:
    """The message in a JSON value; `None` if the value is no message."""
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str) or not kind:
        return None
    known = kind if kind in KNOWN_TYPES else kind.lower()  # one guide spells `assistant_PROSODY`
    if known not in KNOWN_TYPES:
        return UnknownMessage(type=shown_type(kind), payload=redact(value))
    return _fit(KNOWN_TYPES[known], {**value, "type": known})


def what_is_wrong_with(value: Any) -> str:
    """Why a JSON value is no message."""
    return "an object without a type" if isinstance(value, dict) else "JSON, but not an object"


def fault(frame: str | bytes | bytearray | memoryview, reason: str, *, binary: bool | None = None) -> ProtocolFault:
    """The fault that stands for a frame.

    Args:
        binary: Whether the frame is a binary one; by default, whether it is given as bytes.
    """
    data = frame.encode("utf-8", "surrogatepass") if isinstance(frame, str) else frame
    came_binary = not isinstance(frame, str) if binary is None else binary
    digest = hashlib.blake2b(data, digest_size=8)
    return ProtocolFault(reason=reason, size=len(data), binary=came_binary, digest=int.from_bytes(digest.digest()))


def load_json(text: str) -> Any:
    """The value of a JSON text. Lone surrogates, which cannot be written as UTF-8 again, are replaced; an integer that
    is too long to be read becomes its text.

    Raises:
        ValueError, RecursionError: It is not JSON, or nests too deeply.
    """
    try:
        return pydantic_core.from_json(text)
    except ValueError:
        return _scrub(json.loads(text.encode("utf-8", "replace").decode(), parse_int=short_integer))


def short_integer(digits: str) -> int | str:
    """The integer, or its text if it has too many digits."""
    return int(digits) if len(digits) <= MAX_DIGITS else digits


def scrubbed(text: str) -> str:
    """The text with lone surrogates replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _scrub(value: Any) -> Any:
    if isinstance(value, str):
        return scrubbed(value)
    if isinstance(value, dict):
        return {scrubbed(key): _scrub(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_scrub(item) for item in value]
    return value


def _fit(model: type[Message], value: dict[str, Any]) -> Message:
    """The model, from all values of the right form. The caller has checked `type`."""
    if "models" in value:
        value["models"] = _numeric_scores(value["models"])
    try:
        return model.model_validate(value)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            value = _without(value, problem["loc"])
        return model.model_validate(value)


def _without(value: dict[str, Any], place: tuple[str | int, ...]) -> dict[str, Any]:
    """The object without the innermost value that `place` leads to. `place` may end with names of pydantic's own."""
    name = str(place[0])
    inner = value.get(name)
    if len(place) > 1 and isinstance(inner, dict) and place[1] in inner:
        return {**value, name: _without(inner, place[1:])}
    return {key: item for key, item in value.items() if key != name}


def _numeric_scores(models: Any) -> Any:
    """The inference without impossible scores: pydantic is slow when it has to report a thousand of them."""
    try:
        scores = models["prosody"]["scores"]
        # `true` is 1, as the schema takes it too
        kept = {
            name: score for name, score in scores.items() if isinstance(score, (int, float)) and abs(score) <= MAX_SCORE
        }
    except (TypeError, KeyError, AttributeError):
        return models
    return {**models, "prosody": {**models["prosody"], "scores": kept}}
