"""Schemas as they are published: plain ones, which every client keeps.

Clients and frameworks turn a JSON Schema into what their model's service takes, and many know no more of it than types,
properties and enums: unions, references and constants become `{}`, an array of texts, or nothing, and some services
refuse the whole list of tools for one of them. What is checked is not loosened by it: arguments are validated here.
"""

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_BOUNDS = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems", "minLength", "maxLength"}
)

HEADER = "x-mcp-header"
"""Names the header in which clients of 2026-07-28 repeat an argument over HTTP, where proxies can read it."""
_TOLD_BY_NAME = frozenset(
    {
        "chat_id",  # of which the instructions tell
        "chat_ids",
        "unless_user_spoke_after",  # and of this
        "items",
        "limit",
        "max_chars",
        "last_turns",
        "top",
        "speaker",
        "status",
        "timeout_s",
        "wait_for_effect_s",
        "is_error",
        "error",
        "code",
        "name",
        "description",
        "fallback_content",
        "system_prompt",
        "text",
        "tool_call_id",
        "voice_id",
        "metadata",
        "language_model_api_key_name",
        "clear",
        "recap",
    }
)
"""Fields that no model needs to be told of. Those of the docs are."""


def plain(schema: Schema, *, to_read: bool = False, with_headers: bool = False) -> dict[str, Any]:
    """The schema of an object without what clients trip over, and without what says nothing.

    - References are replaced by what they refer to (no schema of ours refers to itself).
    - Of a union, `null` is left out: what is optional is not required. Of the rest the object counts, else the list,
      else the first.
    - A constant is an enum of one. An object of any fields says that it is, else some make a text of it.
    - Titles, empty defaults, patterns and `additionalProperties: false` are left out; so are bounds, which services
      refuse that hold a model to a schema.
    - A model pays for every word each time: fields that say themselves what they are have no description, and
      `x-mcp-header` is left out where there are no headers.

    Args:
        to_read: Makes the schema by which arguments are read, and of which the docs tell, instead: with bounds and all
            descriptions, and what may be a text is one.
        with_headers: Whether it is for HTTP.
    """
    left_out = set() if to_read else {*_BOUNDS, *(() if with_headers else (HEADER,))}
    return _Plain(schema.get("$defs", {}), left_out, to_read=to_read).schema(schema)


def untitled(schema: Schema) -> dict[str, Any]:
    """A schema without the titles that are made of the names of its fields."""
    made = dict(schema)
    for key in ("properties", "$defs"):
        if key in made:
            made[key] = {name: untitled(field) for name, field in made[key].items()}
    if "properties" in made:
        for name, field in made["properties"].items():
            made["properties"][name] = {key: value for key, value in field.items() if key != "title"}
    return made


class _Plain:
    """Makes schemas plain that refer to the same definitions."""

    def __init__(self, definitions: Mapping[str, Schema], left_out: set[str], *, to_read: bool) -> None:
        self._definitions = definitions
        self._to_read = to_read
        self._left_out = {"title", "$defs", "discriminator", "pattern", *left_out}
        self._counts_first = ("string", "object", "array") if to_read else ("object", "array")

    def schema(self, schema: Schema) -> dict[str, Any]:
        schema = self._one(schema)
        made: dict[str, Any] = {}
        for key, value in schema.items():
            match key:
                case "properties":
                    made[key] = {name: self._field(name, field) for name, field in value.items()}
                case "items":
                    made[key] = self._field("items", value)
                case "additionalProperties":
                    if value is not False:
                        made[key] = True
                case "const":
                    made["enum"] = [value]
                case "description":
                    made[key] = " ".join(value.split())
                case "default":
                    if value not in (None, "", [], {}) and value is not False:
                        made[key] = value
                case _ if key not in self._left_out:
                    made[key] = value
        if made.get("type") == "object" and "properties" not in made:
            made["additionalProperties"] = True
        return made

    def _field(self, name: str, field: Schema) -> dict[str, Any]:
        made = self.schema(field)
        if not self._to_read and name in _TOLD_BY_NAME:
            made.pop("description", None)
        return made

    def _one(self, schema: Schema) -> Schema:
        """The schema, or that of its alternatives that counts, with what stands beside it."""
        if (reference := schema.get("$ref")) is not None:
            found = self._definitions[reference.rpartition("/")[2]]
            return self._one({**found, **{key: value for key, value in schema.items() if key != "$ref"}})
        for union in ("anyOf", "oneOf"):
            if union in schema:
                forms = [self._one(form) for form in schema[union]]
                forms = [form for form in forms if form.get("type") != "null"]
                counts = next(
                    (form for kind in self._counts_first for form in forms if form.get("type") == kind), forms[0]
                )
                return {**counts, **{key: value for key, value in schema.items() if key != union}}
        return schema
