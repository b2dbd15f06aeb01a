"""EVI's messages as a bot sends them, and their JSON. Nothing here raises: a call must not end for its transcript.

Shapes as Hume's `SubscribeEvent` has them. Beyond it a `user_message` carries an `id`, so that its expression can come
later, in a `user_prosody` that EVI has not.
"""

import base64
import io
import json
import math
import wave
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from evi_mcp.link.outbox import Held

MAX_TEXT = 256 * 1024
"""The longest text of one field, in characters; of more, the beginning is sent."""
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""The largest message; in place of a larger one goes an `error` that says so."""

_MAX_DEPTH = 32
_MAX_VALUES = 20_000

Speaker = Literal["user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """What was said and sent; `expression` and `audio_output` refer to it."""

    id: str
    speaker: Speaker


def held_of(message: Mapping[str, Any]) -> Held:
    """The message, ready to be kept and written."""
    type_ = str(message.get("type"))
    try:
        payload = _json(message)
    except Exception as error:  # whatever a bot's own objects do when they are looked at
        return _left_out(type_, f"it cannot be written as JSON ({type(error).__name__})")
    if len(payload) > MAX_MESSAGE_BYTES:
        return _left_out(type_, f"it takes {len(payload)} bytes and {MAX_MESSAGE_BYTES} are allowed")
    return Held(type_, payload, expendable=type_ == "audio_output" or message.get("interim") is True)


def cut(text: str) -> str:
    """The text, or as much of it as is sent."""
    if len(text) <= MAX_TEXT:
        return text
    return f"{text[:MAX_TEXT]} [cut: {len(text) - MAX_TEXT} more characters]"


def text_of(value: Any) -> str:
    """A result or arguments of a tool as text: text stays as it is, all else becomes JSON."""
    if isinstance(value, str):
        return cut(value)
    try:
        return cut(_json(value).decode())
    except Exception:
        return f"[{type(value).__name__}, which cannot be written as JSON]"


def inference(scores: Mapping[str, float] | None) -> dict[str, Any]:
    """EVI's `models`. Scores that are no finite numbers are left out; empty if there are none."""
    told: dict[str, float] = {}
    for name, score in (scores or {}).items():
        try:
            number = float(score)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number):
            told[str(name)] = round(number, 6)
    return {"prosody": {"scores": told}} if told else {}


def wav_base64(pcm: bytes, sample_rate: int, channels: int) -> str:
    """16-bit PCM as a small complete WAV in base64, as EVI's `audio_output` has it."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(sample_rate)
        out.writeframes(pcm)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _left_out(type_: str, why: str) -> Held:
    note = {
        "type": "error",
        "code": "link_message_left_out",
        "slug": "link_message_left_out",
        "message": f"The bot's link left out a message of type {type_[:80]}: {why}.",
    }
    return Held("error", json.dumps(note).encode())


def _json(value: Any) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)
    except (TypeError, ValueError, RecursionError):
        text = json.dumps(_Plain()(value), ensure_ascii=False)
    return text.encode("utf-8", "replace")  # half a surrogate pair becomes a question mark


class _Plain:
    """Makes plain data of anything, bounded in depth and number, also where it contains itself."""

    def __init__(self) -> None:
        self._left = _MAX_VALUES

    def __call__(self, value: Any, depth: int = 0) -> Any:
        self._left -= 1
        if self._left < 0 or depth > _MAX_DEPTH:
            return "[left out: too large or nested too deeply]"
        if value is None or isinstance(value, (str, bool, int)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, Mapping):
            return {str(key): self(item, depth + 1) for key, item in value.items() if self._left >= 0}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self(item, depth + 1) for item in value if self._left >= 0]
        return str(value)
