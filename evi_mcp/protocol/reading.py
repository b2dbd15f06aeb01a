"""From a frame as it came to a message in which no known secret is left, and of which no part is longer than is kept.

No single step takes long, whatever is in a frame: a large one is read in steps between which a thread lets go of the
interpreter, and where there is too much in it, only the fields that a schema names are read. A step takes some 3 ms for
each MiB, or less; what would take a hundred times as long, millions of small values, is counted first.
"""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from evi_mcp.protocol.codec import decode, fault, load_json, message_of, text_of, what_is_wrong_with
from evi_mcp.protocol.cutting import MAX_TEXT, cut_text, with_note
from evi_mcp.protocol.fast_decode import FastMessage, decode_audio, decode_fast
from evi_mcp.protocol.messages import KNOWN_TYPES, ChatMessage, Message, SessionSettings, json_text
from evi_mcp.protocol.redaction import MAX_DEPTH, TOO_DEEP, Mask

LARGE_FRAME = 32 * 1024
"""A longer frame, unless it is audio, is read in a thread; in characters, or bytes of a binary frame."""
MAX_VALUES = 100_000
"""A frame that may hold more JSON values is read in part."""
MAX_FIELDS, MAX_FIELD = 100, 2048
"""How many fields of a long message of an unknown type are kept, and how many characters of each, as JSON text."""

_MARGIN = 16 * 1024  # for a secret that begins where a text is cut, as long as it may be with its escapes


def is_large(frame: str | bytes | Message) -> bool:
    """Whether reading a frame could take so long that others would notice."""
    return isinstance(frame, (str, bytes)) and len(frame) > LARGE_FRAME


def read(frame: str | bytes | Message, mask: Mask) -> FastMessage | Message:
    """The message of a frame; never raises.

    Args:
        frame: A text frame, the payload of a binary one, or what has been read already.
        mask: Takes known secrets out before anything is cut: half a secret would not be known for one.
    """
    if isinstance(frame, Message):
        return frame
    text = text_of(frame)
    if text is None:
        return decode(frame)
    if (voice := read_audio(text, mask)) is not None:
        return voice
    if len(text) > LARGE_FRAME:
        return _read_large(text, mask)
    masked: str = mask(text)
    return decode_fast(masked) or decode(masked if isinstance(frame, str) else masked.encode())


def read_audio(frame: str, mask: Mask) -> FastMessage | None:
    """EVI's voice, if that is what a frame is: quickly, for it has no text but its id to be searched for secrets."""
    voice = decode_audio(frame)
    return voice._replace(id=mask(voice.id)) if voice is not None else None


def _read_large(text: str, mask: Mask) -> Message:
    try:
        value = load_json(text) if _has_few_values(text) else _outline(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return fault(text, "not JSON, or more values than can be read")
    if not isinstance(value, dict):
        return fault(text, what_is_wrong_with(value))
    kind = value.get("type")
    model = KNOWN_TYPES.get(kind) if isinstance(kind, str) else None
    if model is None or model is SessionSettings:
        value = _kept(value, mask)
        value = _first_fields(value) if len(text) > MAX_TEXT else value
    else:
        value = _kept({name: item for name, item in value.items() if name in model.model_fields}, mask)
    message = message_of(value)
    return _with_texts_cut(message) if message is not None else fault(text, what_is_wrong_with(value))


def _has_few_values(text: str) -> bool:
    """Whether there is no room in a JSON text for more than `MAX_VALUES` values: each but the first of an array or
    object follows a comma. What stands in texts is counted as well."""
    return sum(map(text.count, ",[{")) <= MAX_VALUES


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


def _outline(text: str) -> dict[str, Any]:
    """The fields of a JSON object that a schema names; a large one that is no text as its JSON text.

    Raises:
        MsgspecError, ValueError, RecursionError: It is no JSON object.
    """
    fields = _came(_outline_of.decode(text))
    value = {name: _value(raw) for name, raw in fields.items()}
    if bytes(fields.get("message", b"")).startswith(b"{"):
        value["message"] = {name: _value(raw) for name, raw in _came(_transcript_of.decode(fields["message"])).items()}
    return value


def _came(found: Struct) -> dict[str, Raw]:
    return {name: raw for name, raw in msgspec.structs.asdict(found).items() if raw is not UNSET}


def _value(raw: Raw) -> Any:
    text = bytes(raw).decode()
    return load_json(text) if text.startswith('"') or len(text) <= LARGE_FRAME else text


def _kept(value: Any, mask: Mask, depth: int = 0) -> Any:
    """A copy of plain data without secrets and without what is too long or too deep to be kept."""
    if isinstance(value, str):
        return _kept_text(value, mask)
    if depth > MAX_DEPTH and isinstance(value, (dict, list)):
        return TOO_DEEP
    if isinstance(value, dict):
        return {_kept_text(name, mask): _kept(item, mask, depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_kept(item, mask, depth + 1) for item in value]
    return value


def _kept_text(text: str, mask: Mask) -> str:
    if len(text) <= MAX_TEXT:
        return cut_text(mask(text))
    kept: str = mask(text[: MAX_TEXT + _MARGIN])
    if len(text) > MAX_TEXT + _MARGIN:
        kept = kept[:-_MARGIN]  # where half a secret may stand
    return with_note(kept[:MAX_TEXT], len(text) - len(kept[:MAX_TEXT]))


def _first_fields(value: dict[str, Any]) -> dict[str, Any]:
    """As much of an object as is kept of one that nobody asked for."""
    shown = {name: _beginning(item) for name, item in list(value.items())[:MAX_FIELDS]}
    return shown if len(value) <= MAX_FIELDS else {**shown, "left_out": f"{len(value) - MAX_FIELDS} more fields"}


def _beginning(item: Any) -> Any:
    text = json_text(item)
    return item if len(text) <= MAX_FIELD else with_note(text[:MAX_FIELD], len(text) - MAX_FIELD)


def _with_texts_cut(message: Message) -> Message:
    cut = _texts_cut(message)
    said = getattr(message, "message", None)
    if isinstance(said, ChatMessage):
        cut["message"] = said.model_copy(update=_texts_cut(said))
    return message.model_copy(update=cut) if cut else message


def _texts_cut(fields: Message | ChatMessage) -> dict[str, Any]:
    return {
        name: cut_text(value) for name, value in fields.__dict__.items() if isinstance(value, str) and name != "data"
    }
