"""Arguments as models write them, made into what a tool's JSON Schema asks for. Pure.

Many models and clients write every parameter, with `null` or something empty in those that they leave out. Some write a
list of one as its only item, and lists and objects as JSON text. Each of these has one meaning, so none of them is
worth a refusal.
"""

from collections.abc import Mapping
from typing import Any

import pydantic_core

Schema = Mapping[str, Any]


def as_meant(arguments: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """The arguments in the form that the schema asks for; what is wrong in another way is left to its validation.

    At any depth:
    - an optional field that is `null` is left out; so is one that holds an empty text and may not be a free text, or a
      zero where the least is more;
    - a text or an object, where a list is wanted, becomes a list of one; what is empty in a list is left out;
    - JSON text (it begins with `[` or `{`, or is `null`), where a list or an object is wanted, is parsed.

    What a schema does not describe (free objects, unknown fields) stays as it is.

    Args:
        schema: That of an object, made to be read by (`schemas.plain`).
    """
    known, required = schema.get("properties", {}), schema.get("required", ())
    read = {name: _value(value, known[name]) if name in known else value for name, value in arguments.items()}
    return {
        name: value
        for name, value in read.items()
        if name not in known or name in required or not _is_left_out(value, known[name])
    }


def _value(value: Any, schema: Schema) -> Any:
    kind = schema.get("type")
    if kind not in ("array", "object"):
        return value
    if isinstance(value, str):
        value = _parsed(value)
    if kind == "array":
        if isinstance(value, dict) or (isinstance(value, str) and not _is_json(value)):
            value = [value]
        if isinstance(value, list):
            items = schema.get("items", {})
            read = [_value(item, items) for item in value]
            return [item for item in read if item not in (None, {}) and not _is_blank(item)]
    return as_meant(value, schema) if isinstance(value, dict) and "properties" in schema else value


def _is_left_out(value: Any, schema: Schema) -> bool:
    """Whether an optional field that has this value was not given."""
    if value is None:
        return True
    if _is_blank(value):
        return schema.get("type") != "string" or "enum" in schema
    return isinstance(value, int | float) and value is not False and value == 0 < schema.get("minimum", 0)


def _is_blank(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()


def _is_json(text: str) -> bool:
    return text.lstrip()[:1] in ("[", "{")


def _parsed(text: str) -> Any:
    """The list, object or `null` in a JSON text; the text itself if there is none, or one that nobody could write."""
    if not _is_json(text) and text.strip() != "null":
        return text
    try:
        return pydantic_core.from_json(text, allow_inf_nan=False)
    except ValueError:
        return text
