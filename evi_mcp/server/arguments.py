"""Arguments as models write them, made into what a tool's JSON Schema asks for. Pure.

Many models write every parameter, with `null` for those that they leave out. Some write a list of one as its only item,
and lists and objects as JSON text. Each of these has one meaning, so none of them is worth a refusal.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pydantic_core

Schema = Mapping[str, Any]


def as_meant(arguments: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """The arguments in the form that the schema asks for; what is wrong in another way is left to its validation.

    At any depth:
    - an optional field that is `null` is left out;
    - a text or an object, where a list is wanted, becomes a list of one;
    - JSON text (it begins with `[` or `{`, or is `null`), where a list or an object is wanted and no text, is parsed.

    What a schema does not describe (free objects, unknown fields) stays as it is.

    Args:
        schema: The JSON Schema of an object, with its `$defs`.
    """
    return _Reader(schema.get("$defs", {})).fields(arguments, schema)


class _Reader:
    """Reads values by schemas that refer to the same definitions."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions

    def fields(self, given: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
        known, required = schema.get("properties", {}), schema.get("required", ())
        read = {name: self._value(value, known[name]) if name in known else value for name, value in given.items()}
        return {
            name: value for name, value in read.items() if value is not None or name not in known or name in required
        }

    def _value(self, value: Any, schema: Schema) -> Any:
        forms = {kind: form for form in self._forms(schema) for kind in _kinds(form)}
        array, free_text = forms.get("array"), "string" in forms
        if isinstance(value, str) and not free_text and ("array" in forms or "object" in forms):
            value = _parsed(value)
        if array is not None and _is_item(value, free_text=free_text, free_object="object" in forms):
            value = [value]
        if array is not None and isinstance(value, list):
            return [self._value(item, array.get("items", {})) for item in value]
        return self.fields(value, self._form_of(value, schema)) if isinstance(value, dict) else value

    def _forms(self, schema: Schema) -> Iterator[Schema]:
        """What a value may be: the schema itself, or the alternatives that it names."""
        if reference := schema.get("$ref"):
            schema = self._definitions.get(str(reference).rpartition("/")[2], {})
        alternatives = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
        for alternative in alternatives:
            yield from self._forms(alternative)
        if not alternatives:
            yield schema

    def _form_of(self, value: Mapping[str, Any], schema: Schema) -> Schema:
        """The form of object that this one is meant to be; one that says nothing if that is not clear."""
        forms = [form for form in self._forms(schema) if "object" in _kinds(form)]
        if len(forms) > 1:
            forms = [form for form in forms if _is_named(value, form)]
        return forms[0] if len(forms) == 1 else {}


def _is_named(value: Mapping[str, Any], form: Schema) -> bool:
    """Whether the value has all the constants of a form, of which there is at least one: `kind`, for a trigger."""
    constants = {name: field["const"] for name, field in form.get("properties", {}).items() if "const" in field}
    return bool(constants) and all(value.get(name) == constant for name, constant in constants.items())


def _kinds(form: Schema) -> list[str]:
    kinds = form.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _is_item(value: Any, *, free_text: bool, free_object: bool) -> bool:
    """Whether a value given for a list is the only item of it."""
    if isinstance(value, str):
        return not free_text and not _is_json(value)
    return isinstance(value, dict) and not free_object


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
