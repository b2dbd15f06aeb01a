"""Reads a frame of any size into a message that is small enough to be kept whole.

Reading a large frame takes many short steps, whatever it holds: between them the reading thread lets others have the
interpreter. From a very large frame only the fields that are kept become Python values, and of those only the part that
is kept. A step over 16 MiB takes about 30 ms at most; creating millions of small values at once would take seconds.
"""

import json
from itertools import islice
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from evi_mcp.protocol.codec import (
    decode,
    fault,
    load_json,
    message_of,
    scrubbed,
    short_integer,
    text_of,
    what_is_wrong_with,
)
from evi_mcp.protocol.cutting import MAX_TEXT, cut_name, cut_text, with_note
from evi_mcp.protocol.fast_decode import FastMessage, decode_audio, decode_fast
from evi_mcp.protocol.messages import KNOWN_TYPES, Message, SessionSettings
from evi_mcp.protocol.parts import ChatMessage, json_text
from evi_mcp.protocol.redaction import MAX_DEPTH, TOO_DEEP, Mask, redact

LARGE_FRAME = 32 * 1024
"""A longer frame, unless it is audio, should be read in a thread; in characters, or bytes of a binary frame."""
VERY_LARGE_FRAME = MAX_TEXT
"""From a longer frame only the fields that are kept are read."""
MAX_VALUES = 20_000
"""The most JSON values that are made of a very large frame."""
MAX_FIELDS, MAX_FIELD = 100, 2048
"""How many fields of a very large message of an unknown type are kept, and how many characters of each."""

LEFT_OUT = "left_out"
"""The field that says which part of a very large message was not kept."""

_MARGIN = 16 * 1024  # room for a secret, in its longest escaped form, that begins where a text is cut
_MOST_READ = 6 * (MAX_TEXT + _MARGIN)  # a character takes up to six bytes of JSON


def is_large(frame: str | bytes | Message) -> bool:
    """Whether reading this frame could delay other tasks noticeably."""
    return isinstance(frame, (str, bytes)) and len(frame) > LARGE_FRAME


def read(frame: str | bytes | Message, mask: Mask) -> FastMessage | Message:
    """The message in a frame; never raises. The message of a large frame is masked.

    Args:
        frame: A text frame, the payload of a binary one, or what has been read already.
        mask: Removes known secrets before a text is cut: half a secret would not be recognised.
    """
    if isinstance(frame, Message):
        return frame
    text = text_of(frame)
    if text is None:
        return decode(frame)
    if (voice := decode_audio(text)) is not None:
        return voice
    if len(text) > LARGE_FRAME:
        return _read_large(text, mask)
    return decode_fast(text) or decode(frame)


def _read_large(text: str, mask: Mask) -> Message:
    is_very_large = len(text) > VERY_LARGE_FRAME
    try:
        if not is_very_large:
            value = load_json(text)
        elif _has_few_values(text):
            value = json.loads(text, parse_int=short_integer)
        else:
            value = _outline(text)
        kept = _kept_fields(value, mask, is_very_large) if isinstance(value, dict) else value
        message = message_of(kept)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return fault(text, "not JSON, or too much to be read")
    return _with_texts_cut(message).masked(mask) if message is not None else fault(text, what_is_wrong_with(value))


def _has_few_values(text: str) -> bool:
    """Whether a JSON text can hold at most `MAX_VALUES` values, judged by its commas and brackets. Those inside strings
    count as well."""
    return sum(map(text.count, ",[{")) <= MAX_VALUES


def _kept_fields(value: dict[str, Any], mask: Mask, is_very_large: bool) -> dict[str, Any]:
    """The part of an object that is kept."""
    if _is_known(value):
        fields = KNOWN_TYPES[value["type"]].model_fields
        return {name: _kept(item, mask) for name, item in value.items() if name in fields}
    if not is_very_large:
        return {_kept_text(name, mask): _kept(item, mask) for name, item in value.items()}
    first = islice(value.items(), MAX_FIELDS)
    kept = {cut_name(_kept_text(name, mask)): _beginning(item, mask) for name, item in first}
    return kept if len(value) <= MAX_FIELDS else {**kept, LEFT_OUT: f"{len(value) - MAX_FIELDS} more fields"}


def _is_known(value: dict[str, Any]) -> bool:
    """Whether only known fields of this message are shown. Settings show unknown fields as well."""
    kind = value.get("type")
    return isinstance(kind, str) and kind in KNOWN_TYPES and KNOWN_TYPES[kind] is not SessionSettings


def _kept(value: Any, mask: Mask, most: int = MAX_TEXT, depth: int = 0) -> Any:
    """A copy of plain data without secrets, without the ends of texts of more than `most` characters, and without what
    is too deep to be kept."""
    if isinstance(value, str):
        return _kept_text(value, mask, most)
    if depth > MAX_DEPTH and isinstance(value, (dict, list)):
        return TOO_DEEP
    if isinstance(value, dict):
        return {_kept_text(name, mask, most): _kept(item, mask, most, depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_kept(item, mask, most, depth + 1) for item in value]
    return value


def _kept_text(text: str, mask: Mask, most: int = MAX_TEXT) -> str:
    unread = text.unread if isinstance(text, _Begun) else 0
    begun: str = mask(scrubbed(text[: most + _MARGIN]))
    if not unread and len(text) <= most:
        return begun
    if unread or len(text) > most + _MARGIN:
        begun = begun[:-_MARGIN]  # half a secret may stand at its end
    kept = begun[:most]
    return with_note(kept, len(text) + unread - len(kept))


def _beginning(item: Any, mask: Mask) -> Any:
    """A value in a message of an unknown type, or the beginning of its JSON text."""
    kept = redact(_kept(item, mask, MAX_FIELD))
    text = json_text(kept)
    return kept if len(text) <= MAX_FIELD else with_note(text[:MAX_FIELD], len(text) - MAX_FIELD)


def _with_texts_cut(message: Message) -> Message:
    cut = _texts_cut(message)
    said = getattr(message, "message", None)
    if isinstance(said, ChatMessage):
        cut["message"] = said.model_copy(update=_texts_cut(said))
    return message.model_copy(update=cut)


def _texts_cut(fields: Message | ChatMessage) -> dict[str, Any]:
    return {name: cut_text(value) for name, value in fields.__dict__.items() if isinstance(value, str)}


# Frames with too many values to create them all


class _Begun(str):
    """The beginning of a text, of which `unread` bytes were not read."""

    unread = 0


def _outline(text: str) -> dict[str, Any]:
    """The fields of a JSON object that any of EVI's schemas names. A large value that is no text stays JSON text.

    Raises:
        MsgspecError, ValueError: It is no JSON object, or a broken one.
    """
    value = _values_of(_outline_of.decode(text.encode()))
    return value if _is_known(value) else {**value, LEFT_OUT: f"most of {len(text)} characters"}


def _values_of(found: Struct) -> dict[str, Any]:
    return {name: _value(name, raw) for name, raw in msgspec.structs.asdict(found).items() if raw is not UNSET}


def _value(name: str, raw: Raw) -> Any:
    data = memoryview(raw)
    begun = str(data[:_MOST_READ], "utf-8", "ignore")
    if len(data) <= LARGE_FRAME:
        return load_json(begun)
    if name == "message" and begun.startswith("{"):
        return _values_of(_transcript_of.decode(data))
    kept = _Begun(_begun_text(begun) if begun.startswith('"') else begun)
    kept.unread = max(0, len(data) - _MOST_READ)
    return kept


def _begun_text(begun: str) -> str:
    """The value of a JSON string that may be cut off anywhere."""
    for end in range(len(begun), len(begun) - len("\\u0000"), -1):
        for closing in ("", '"'):
            try:
                return str(load_json(begun[:end] + closing))
            except ValueError:  # in the middle of an escape
                pass
    raise ValueError("no JSON text")


class _Transcript(Struct):
    role: Raw | UnsetType = UNSET
    content: Raw | UnsetType = UNSET


_Outline = msgspec.defstruct(
    "_Outline",
    [
        (name, Raw | UnsetType, UNSET)
        for name in sorted({name for model in KNOWN_TYPES.values() for name in model.model_fields})
    ],
)
_outline_of = msgspec.json.Decoder(_Outline)
_transcript_of = msgspec.json.Decoder(_Transcript)
