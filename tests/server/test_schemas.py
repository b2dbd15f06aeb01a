"""Plain schemas, made of any that pydantic makes."""

from typing import Annotated, Any, Literal

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from evi_mcp.server.schemas import plain


class Inner(BaseModel):
    """A part."""

    kind: Literal["a"]
    free: dict[str, str | int] = {}


class Outer(BaseModel):
    """All that clients trip over."""

    maybe: Inner | None = None
    several: list[Inner] | None = None
    either: str | dict[str, Any] = ""
    bounded: Annotated[int, Field(ge=1, le=9, description="Some\n    words.")] = 5
    chat_id: Annotated[str, Field(description="Told elsewhere.", json_schema_extra={"x-mcp-header": "Chat-Id"})]


INNER = {
    "type": "object",
    "description": "A part.",
    "properties": {
        "kind": {"type": "string", "enum": ["a"]},
        "free": {"type": "object", "additionalProperties": True},
    },
    "required": ["kind"],
}
WITHOUT_WORDS = {name: value for name, value in INNER.items() if name != "description"}


def test_a_schema_becomes_types_properties_and_enums() -> None:
    """No reference, union, constant, title, bound or empty default is left, and every field keeps its type."""
    made = plain(Outer.model_json_schema())
    assert made["properties"] == {
        "maybe": INNER,
        "several": {"type": "array", "items": WITHOUT_WORDS},
        "either": {"type": "object", "additionalProperties": True},
        "bounded": {"type": "integer", "default": 5, "description": "Some words."},
        "chat_id": {"type": "string"},
    }
    assert made["required"] == ["chat_id"]


def test_over_http_the_header_of_an_argument_is_named() -> None:
    """Clients of 2026-07-28 send it, so that proxies can read it; on stdio there are no headers."""
    made = plain(Outer.model_json_schema(), with_headers=True)
    assert made["properties"]["chat_id"] == {"type": "string", "x-mcp-header": "Chat-Id"}


def test_arguments_are_read_with_bounds_and_texts_as_texts() -> None:
    """A zero where the least is 1 was only filled in; a JSON text where a text may stand is one."""
    fields = plain(Outer.model_json_schema(), to_read=True)["properties"]
    assert (fields["bounded"]["minimum"], fields["bounded"]["maximum"]) == (1, 9)
    assert fields["either"]["type"] == "string"
    assert fields["chat_id"]["description"] == "Told elsewhere."


@given(st.sampled_from([True, False]))
def test_what_is_plain_stays_so(with_headers: bool) -> None:
    """There is nothing to take away twice."""
    made = plain(Outer.model_json_schema(), with_headers=with_headers)
    assert plain(made, with_headers=with_headers) == made
