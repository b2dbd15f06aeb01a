"""JSON in frames: read with bounds, written in one form.

A frame may be 16 MiB, which is one long string of audio. The same bytes as a million small values would hold the
event loop for a second, so a large frame with many values is refused.
"""

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

import pydantic_core

from evi_mcp.protocol.codec import load_json

LARGE = 2**20
"""Characters from which on the number of values in a frame is bounded."""
MAX_VALUES = 10_000
"""Values in a large frame; a message of EVI's has fewer than 100."""


class Unreadable(ValueError):
    """What is no message that can be read; the text says why, without any of its content."""


class NotJson(Unreadable):
    """A frame that is not JSON text."""


def read(frame: str | bytes) -> dict[str, Any]:
    """The JSON object in a text frame. Lone surrogates in it are replaced.

    Raises:
        NotJson: It is not JSON text.
        Unreadable: It is no object, or has too many values.
    """
    if isinstance(frame, bytes):
        raise NotJson("a binary frame; send text")
    if len(frame) > LARGE and next(islice(re.finditer(",", frame), MAX_VALUES, None), None):
        raise Unreadable(f"a frame of {len(frame)} characters with more than {MAX_VALUES} values")
    try:
        value = load_json(frame)
    except (ValueError, RecursionError):
        raise NotJson("not JSON") from None
    if not isinstance(value, dict):
        raise Unreadable("JSON, but not an object")
    return value


def write(message: Mapping[str, Any]) -> bytes:
    """An object as UTF-8 JSON, its `type` first as in Hume's samples. Numbers that JSON cannot have become null.

    Raises:
        Unreadable: It cannot be written as JSON.
    """
    try:
        ordered = {"type": message["type"], **message} if "type" in message else message
        return pydantic_core.to_json(ordered, inf_nan_mode="null")
    except (ValueError, RecursionError):  # what cannot be serialised raises a ValueError too
        raise Unreadable("a message that cannot be written as JSON") from None
