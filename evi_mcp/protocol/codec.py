"""Frames to messages and commands to frames. Decoding never raises.

A frame that is a JSON object with a string `type` is a message; all else in it is optional. A frame that is
not becomes a `ProtocolFault`. What a known type carries in the wrong form is set aside, the rest is read.
"""

import hashlib
import json
from typing import Any

import pydantic_core
from pydantic import TypeAdapter, ValidationError

from evi_mcp.protocol.messages import KNOWN_TYPES, MAX_SCORE, Message, ProtocolFault, SubscribeMessage, UnknownMessage
from evi_mcp.protocol.redaction import redact

MAX_FRAME_BYTES = 16 * 2**20
"""The largest frame accepted or sent, in bytes. Hume's FAQ states 16 MB."""

_known: TypeAdapter[Message] = TypeAdapter(SubscribeMessage)


def decode(frame: str | bytes) -> Message:
    """The message in a frame; `ProtocolFault` if there is none.

    Args:
        frame: A text frame, or the payload of a binary one, which EVI does not send and nobody here reads.
    """
    if isinstance(frame, bytes):
        return _fault(frame, "a binary frame, where EVI sends text")
    try:
        return _known.validate_json(frame)
    except (ValidationError, ValueError, RecursionError):
        return _decode_leniently(frame)


def _decode_leniently(frame: str) -> Message:
    """The second, slower look at a frame that is not exactly what the schema says."""
    try:
        value = load_json(frame)
    except (ValueError, RecursionError):
        return _fault(frame, "not JSON")
    if not isinstance(value, dict):
        return _fault(frame, "JSON, but not an object")
    kind = value.get("type")
    if not isinstance(kind, str) or not kind:
        return _fault(frame, "an object without a type")
    known = kind if kind in KNOWN_TYPES else kind.lower()  # one guide spells `assistant_PROSODY`
    if known not in KNOWN_TYPES:
        return UnknownMessage(type=kind, payload=redact(value))
    return _fit(KNOWN_TYPES[known], {**value, "type": known})


def load_json(frame: str) -> Any:
    """The value of a JSON text, also with lone surrogates, which are replaced: they cannot be written as UTF-8 again.

    Raises:
        ValueError, RecursionError: It is not JSON, or nests too deeply.
    """
    try:
        return pydantic_core.from_json(frame)
    except ValueError:
        text = frame.encode("utf-8", "replace").decode()
        return _scrub(json.loads(text))


def _scrub(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_scrub(key): _scrub(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_scrub(item) for item in value]
    return value


def _fit(model: type[Message], value: dict[str, Any]) -> Message:
    """The model from the fields that have the right form; `type` is known to."""
    value = {**value, "models": _numeric_scores(value["models"])} if "models" in value else value
    try:
        return model.model_validate(value)
    except ValidationError as error:
        wrong = {problem["loc"][0] for problem in error.errors(include_url=False, include_input=False)}
        return model.model_validate({key: item for key, item in value.items() if key not in wrong})


def _numeric_scores(models: Any) -> Any:
    """The inference with only those scores that can be some, so that one odd score costs no other."""
    try:
        scores = models["prosody"]["scores"]
        # `true` is 1, as the schema takes it too
        kept = {
            name: score for name, score in scores.items() if isinstance(score, (int, float)) and abs(score) <= MAX_SCORE
        }
    except (TypeError, KeyError, AttributeError):
        return models
    return {**models, "prosody": {**models["prosody"], "scores": kept}}


def _fault(frame: str | bytes, reason: str) -> ProtocolFault:
    data = frame if isinstance(frame, bytes) else frame.encode("utf-8", "surrogatepass")
    digest = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
    return ProtocolFault(reason=reason, size=len(frame), binary=isinstance(frame, bytes), digest=digest)
