"""Triggers as agents write them, made into triggers; and the form that a wrong one should have had.

Models and clients write every field of an object, with something empty in those that they do not mean, write objects
as JSON text and numbers in quotes. Each of these has one meaning. What has none is refused with a sentence that ends
with the right form, filled in with what was given.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from evi_mcp.chat.events import KNOWN
from evi_mcp.chat.names import CHAT_ENDED, ENDS_ANYWAY
from evi_mcp.chat.triggers import (
    OnEvent,
    OnExpression,
    OnSilence,
    OnText,
    OnToolCallWaiting,
    OnTurnEnd,
    Trigger,
)
from evi_mcp.errors import InvalidArgument, listing

MAX_TRIGGERS = 10
MAX_TYPES = 50
MAX_TEXT = 1000
_SHOWN = 60
"""The longest text that is repeated in a form."""

FORMS: dict[str, tuple[type[Trigger], dict[str, Any]]] = {
    "event": (OnEvent, {"types": ["error", "user_interruption"]}),
    "expression": (OnExpression, {"score": "Anger", "at_least": 0.5}),
    "text": (OnText, {"contains": "refund"}),
    "silence": (OnSilence, {"seconds": 15}),
    "tool_call_waiting": (OnToolCallWaiting, {"seconds": 3}),
    "turn_end": (OnTurnEnd, {}),
}
"""By kind: what it is made into, and the fields of an example."""

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "kind": {"type": "string", "enum": list(FORMS)},
        "types": {"type": "array", "items": {"type": "string"}},
        "score": {"type": "string"},
        "at_least": {"type": "number"},
        "at_most": {"type": "number"},
        "rise": {"type": "number"},
        "turns": {"type": "integer"},
        "speaker": {"type": "string"},
        "contains": {"type": "string"},
        "seconds": {"type": "number"},
        "chat_id": {"type": "string"},
    },
    "required": ["kind"],
}
"""One flat object: unions do not reach the models of many clients."""

_SPEAKERS = ("user", "assistant")
_SPEAK = {
    "user_message": "user",
    "assistant_message": "assistant",
    "assistant_prosody": "assistant",
    "user_prosody": "user",
    "audio_output": "assistant",
}
_LEVELS = ("at_least", "at_most", "rise")


class _Wrong(ValueError):
    """What is wrong with a field, as the end of a sentence that begins with its name."""


def read_triggers(given: Any) -> tuple[Trigger, ...]:
    """The triggers that were given: a list of objects, one object, or either as JSON text; nothing for something empty.

    Raises:
        InvalidArgument: With the form that is right.
    """
    given = _parsed(given)
    if _is_empty(given):
        return ()
    items = given if isinstance(given, list) else [given]
    triggers = tuple(trigger for item in items if (trigger := _trigger(_parsed(item))) is not None)
    if len(triggers) > MAX_TRIGGERS:
        raise InvalidArgument(f"until takes at most {MAX_TRIGGERS} triggers and was given {len(triggers)}.")
    return triggers


def _trigger(given: Any) -> Trigger | None:
    """The trigger; `None` for an object in which everything is empty."""
    if isinstance(given, str) and (kind := _kind(given)):
        given = {"kind": kind}
    if not isinstance(given, dict):
        raise _refused("until takes objects", "tool_call_waiting", {})
    meant = {name: value for name, value in given.items() if not _is_empty(value)}
    if all(_is_no_value(name, value) for name, value in meant.items()):
        return None
    named = meant.pop("kind", None)
    kind = _kind(named) if isinstance(named, str) else None
    if kind is None:
        if named == CHAT_ENDED:
            raise InvalidArgument(ENDS_ANYWAY)
        raise _unknown_kind(named, meant)
    return _of_kind(kind, meant)


def _of_kind(kind: str, meant: dict[str, Any]) -> Trigger:
    made_into, _ = FORMS[kind]
    known = {field.name: field for field in fields(made_into)}
    meant = {name: value for name, value in meant.items() if name in known or not _is_no_value(name, value)}
    if strange := [name for name in meant if name not in known]:
        raise _refused(f"a trigger of the kind {kind} has no {listing(strange, 3)}", kind, meant)
    values: dict[str, Any] = {}
    for name, value in meant.items():
        try:
            values[name] = _READERS[name](value)
        except _Wrong as error:
            raise _refused(f"{name} of a trigger {error}", kind, {**meant, name: None}) from None
    values = {name: value for name, value in values.items() if not (name in ("turns", "seconds") and value == 0)}
    if kind == "expression":
        _check_levels(values)
    if missing := [name for name, field in known.items() if field.default is MISSING and name not in values]:
        raise _refused(f"a trigger of the kind {kind} needs {' and '.join(missing)}", kind, values)
    if kind == "event" and "speaker" in values:
        _check_speaker(values)
    return made_into(**values)


def _check_levels(values: dict[str, Any]) -> None:
    """Takes away the zeros that stand beside another level: they were filled in for want of anything else."""
    given = {name: values[name] for name in _LEVELS if name in values}
    if any(given.values()):
        for name, value in given.items():
            if value == 0:
                del values[name]
    elif len(given) != 1 or "rise" in given:
        said = "a trigger of the kind expression needs at_least, at_most or rise"
        raise _refused(said, "expression", {name: value for name, value in values.items() if name not in given})
    if values.get("at_least", -1) > values.get("at_most", 1):
        said = "at_least of a trigger cannot be more than its at_most"
        raise _refused(said, "expression", {**values, "at_most": None})


def _check_speaker(values: dict[str, Any]) -> None:
    speaker = values["speaker"]
    if all(kind in KNOWN and _SPEAK.get(kind) != speaker for kind in values["types"]):
        said = f"no event of these types has the speaker {speaker}, so the trigger could never be met"
        raise _refused(said, "event", {"types": values["types"]})


def _unknown_kind(named: Any, meant: Mapping[str, Any]) -> InvalidArgument:
    if named is None:
        for name, value in meant.items():
            if (nested := _kind(name)) and isinstance(value, dict):
                return _refused("the kind of a trigger stands beside its fields", nested, value)
        kind = next((kind for kind, (_, example) in FORMS.items() if meant.keys() & example.keys()), "silence")
        return _refused("a trigger needs a kind", kind, meant)
    kind = named if isinstance(named, str) else ""
    shown = listing([kind]) if kind else "of this type"
    said = f"there is no kind of trigger {shown}; there are {', '.join(FORMS)}"
    if kind == "tool_call":
        return _refused(said, "tool_call_waiting", {})
    return _refused(said, "event", {"types": [kind]}) if kind in KNOWN else _refused(said, "silence", {})


def _refused(said: str, kind: str, meant: Mapping[str, Any]) -> InvalidArgument:
    """The sentence, with the right form: what was given and can be so, and what is needed besides, as an example."""
    made_into, example = FORMS[kind]
    kept = {}
    for name in (field.name for field in fields(made_into)):
        try:
            value = _READERS[name](meant[name])
        except (KeyError, _Wrong):
            continue
        if not (isinstance(value, tuple) and len(value) > 3) and len(str(value)) <= _SHOWN and value:
            kept[name] = list(value) if isinstance(value, tuple) else value
    if kind == "expression" and kept.keys() & set(_LEVELS):
        example = {"score": example["score"]}
    form = json.dumps({"kind": kind, **example, **kept})
    return InvalidArgument(f"{said}; until takes objects such as {form}.")


def _kind(named: str) -> str | None:
    kind = named.strip().casefold()
    return kind if kind in FORMS else None


def _parsed(value: Any) -> Any:
    """What a JSON text says; anything else as it is."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _is_empty(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip() or value.strip().casefold() in ("null", "none")
    return value is None or value is False or (isinstance(value, list | dict) and all(map(_is_empty, value)))


def _is_no_value(name: str, value: Any) -> bool:
    """Whether a field that does not belong to the kind was only filled in: zeros, and what it is by default."""
    empty = (0, "0", 1, "1") if name == "turns" else (0, "0")
    return name in SCHEMA["properties"] and value in empty


def _number(least: float, most: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if number == 0:
            return 0  # whoever calls knows whether that is a value
        if not least <= number <= most:
            raise _Wrong(f"is a number from {least:g} to {most:g}")
        return int(number) if number.is_integer() else number

    return read


def _turns(value: Any) -> int:
    number = _number(1, 20)(value)
    if number != int(number):
        raise _Wrong("is a whole number from 1 to 20")
    return int(number)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT:
        raise _Wrong(f"is a text of at most {MAX_TEXT} characters")
    return value


def _speaker(value: Any) -> str:
    speaker = value.strip().casefold() if isinstance(value, str) else value
    if speaker not in _SPEAKERS:
        raise _Wrong("is user or assistant")
    return str(speaker)


def _types(value: Any) -> tuple[str, ...]:
    value = _parsed(value)
    types = [value] if isinstance(value, str) else value
    if (
        not isinstance(types, list)
        or not 1 <= len(types) <= MAX_TYPES
        or not all(isinstance(one, str) for one in types)
    ):
        raise _Wrong(f"is a list of event types, {MAX_TYPES} at most")
    if not (kept := tuple(one.strip() for one in types if one.strip())):
        raise _Wrong(f"is a list of event types, {MAX_TYPES} at most")
    return kept


_READERS: dict[str, Callable[[Any], Any]] = {
    "types": _types,
    "score": _text,
    "at_least": _number(-1, 1),
    "at_most": _number(-1, 1),
    "rise": _number(-2, 2),
    "turns": _turns,
    "speaker": _speaker,
    "contains": _text,
    "seconds": _number(0.1, 3600),
    "chat_id": _text,
}
