"""Arguments of a tool made from its schema, and from beside it; and what any answer has to be."""

import json
import re
from typing import Any

import mcp_types as types
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

Arguments = st.SearchStrategy[dict[str, Any]]


def nested(depth: int) -> Any:
    value: Any = "deep"
    for level in range(depth):
        value = {"a": value} if level % 2 else [value]
    return value


texts = st.text(max_size=12) | st.sampled_from(
    # Without lone surrogates, which no client can write; `test_lines` tries them as JSON escapes.
    ["", " ", "\0", "\U000e0041", '"', "\n[9 14:03:01] user ", "null", "[]", "{{x}}", "x" * 100_000, "NaN"]
)
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.sampled_from([2**63, 10**400, nested(60)]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


def valid(schema: dict[str, Any], whole: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit a schema, of the kinds that our tools' schemas are made of."""
    if "$ref" in schema:
        return valid(whole["$defs"][schema["$ref"].rsplit("/", 1)[1]], whole)
    for kinds in ("anyOf", "oneOf"):
        if kinds in schema:
            return st.one_of(*(valid(kind, whole) for kind in schema[kinds]))
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    least, most = schema.get("minimum"), schema.get("maximum")
    match schema.get("type"):
        case "string":
            return texts
        case "integer":
            return st.integers(least, most)
        case "number":
            return st.floats(least, most, allow_nan=False, allow_infinity=False)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "array":
            return st.lists(near(schema["items"], whole), max_size=3)
        case "object" if "properties" in schema:
            return object_of(schema, whole)
        case _:
            return st.dictionaries(texts, junk, max_size=3)


def near(schema: dict[str, Any], whole: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Mostly what fits, sometimes what does not."""
    fits = valid(schema, whole)
    return st.one_of(fits, fits, fits, junk)


def object_of(schema: dict[str, Any], whole: dict[str, Any], known: dict[str, Any] | None = None) -> Arguments:
    """An object with fields of the schema, and seldom one that is not; `known` has values for some."""
    fields = {name: near(field, whole) for name, field in schema["properties"].items()}
    fields |= {name: values for name, values in (known or {}).items() if name in fields}
    required = set(schema.get("required", ()))
    fitting = st.fixed_dictionaries(
        {name: fields[name] for name in fields if name in required},
        optional={name: fields[name] for name in fields if name not in required},
    )
    odd = st.dictionaries(st.sampled_from([*fields]) | texts, junk, max_size=3)
    return st.one_of(fitting, fitting, fitting, st.builds(lambda one, other: {**one, **other}, fitting, odd), odd)


INTERNAL = re.compile(
    r"Traceback|Error executing tool|failed inside this server|pydantic|<class|\bobject at 0x|\.py\b"
    r"|function-(after|before)|\b(?!EviMcpError)[A-Z]\w*(Error|Exception)\b|evi_mcp\b|\bNoneType\b"
    r"|dict\[|list\[|Value error,"
)
"""Words of this program's own, which tell an agent nothing that it could use."""


def quoted_apart(text: str) -> str:
    """The text without what stands in quotes, which is the caller's."""
    return re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)


def check_answer(tool: types.Tool, answer: types.CallToolResult) -> None:
    """It is a result as the tool promises, or one sentence of ours that says what is wrong."""
    [said] = answer.content
    assert isinstance(said, types.TextContent)
    said.text.encode()
    if answer.is_error:
        assert answer.structured_content is None
        assert not INTERNAL.search(quoted_apart(said.text)), said.text
        assert said.text.endswith(".") and "\n" not in said.text, said.text
        assert len(said.text) < 5000, "a sentence, whatever it was given"
    else:
        assert tool.output_schema is not None
        Draft202012Validator(tool.output_schema).validate(answer.structured_content)
        json.dumps(answer.structured_content, allow_nan=False, ensure_ascii=False).encode()
