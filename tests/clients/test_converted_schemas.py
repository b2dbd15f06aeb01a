"""What models are given of our tools by clients and frameworks that nobody here wrote, with their own converters.

Each of them once made "array of strings", `{}` or nothing of `until`, or refused all tools for the schema of one.
"""

import json
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from evi_mcp.chat.trigger_forms import FORMS, SCHEMA
from evi_mcp.server.tools import ALL_TOOLS
from tests.clients.environment import client_python
from tests.npm import npm_folder

HERE = Path(__file__).parent
RUN_TIMEOUT_S = 60
NPM = ("@langchain/mcp-adapters@1.1.4", "@langchain/core@1.4.0")
NPM_TIMEOUT_S = 100
REFUSED = ("anyOf", "oneOf", "allOf", "discriminator", "const", "$ref", "$defs", "title", "pattern")
"""What makes a schema more than types, properties and enums."""
STRICT = {"openai-agents", "pydantic-ai for OpenAI, strict"}
"""Converters that require every field, so that a model has to write something into each."""

TOOLS: list[dict[str, Any]] = [
    {"name": tool.name, "description": tool.description, "inputSchema": tool.parameters}
    for tool in (spec.tool(with_output_schema=False) for spec in ALL_TOOLS)
]


@cache
def _converted(*command: str) -> Any:
    done = subprocess.run(
        command, input=json.dumps(TOOLS), capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def schemas_in(schema: Any) -> Iterator[dict[str, Any]]:
    """A schema, and all that are a part of it."""
    yield schema
    for field in schema.get("properties", {}).values():
        yield from schemas_in(field)
    if "items" in schema:
        yield from schemas_in(schema["items"])


def type_of(schema: dict[str, Any]) -> str:
    """Gemini has types in capitals."""
    return str(schema["type"]).lower()


def test_published_schemas_are_nothing_but_types_properties_and_enums() -> None:
    """A null union alone made some services refuse the whole list of tools."""
    for tool in TOOLS:
        for schema in schemas_in(tool["inputSchema"]):
            assert isinstance(schema.get("type"), str), (tool["name"], schema)
            assert not set(REFUSED) & schema.keys(), (tool["name"], schema)
            assert schema.get("type") != "array" or "items" in schema


def check(converter: str, made: dict[str, Any]) -> None:
    """Kinds, fields and what is required are as we published them."""
    assert made.keys() == {tool["name"] for tool in TOOLS}
    for tool in TOOLS:
        ours, theirs = tool["inputSchema"], made[tool["name"]]
        assert theirs["properties"].keys() == ours["properties"].keys(), (converter, tool["name"])
        required = set(ours.get("required", ()))
        assert required <= set(theirs.get("required", ())), (converter, tool["name"])
        if converter not in STRICT:
            assert required == set(theirs.get("required", ())), (converter, tool["name"])
        for name, field in ours["properties"].items():
            assert type_of(theirs["properties"][name]) == type_of(field), (converter, tool["name"], name)
            assert theirs["properties"][name].get("enum") == field.get("enum"), (converter, tool["name"], name)
    until = made["wait_for_events"]["properties"]["until"]
    trigger = until["items"]
    assert (type_of(until), type_of(trigger)) == ("array", "object")
    assert trigger["properties"].keys() == SCHEMA["properties"].keys()
    assert trigger["properties"]["kind"]["enum"] == list(FORMS)
    assert "kind" in trigger["required"]
    assert type_of(trigger["properties"]["types"]["items"]) == "string"


@pytest.mark.parametrize(
    "converter",
    [
        "openai-agents",
        "langchain-google-genai",
        "pydantic-ai for OpenAI, strict",
        "pydantic-ai for Gemini",
        "google-adk",
    ],
)
def test_kinds_and_required_fields_survive(converter: str) -> None:
    """A model that is told less cannot wait for anything."""
    made = _converted(str(client_python("agents")), str(HERE / "convert_agents.py"))
    check(converter, made[converter])


def test_every_tool_without_a_free_object_can_be_strict() -> None:
    """openai-agents holds a model to a schema where it can; a free object (`variables`) is what it cannot."""
    made = _converted(str(client_python("agents")), str(HERE / "convert_agents.py"))["openai-agents"]
    free = {tool["name"] for tool in TOOLS if "additionalProperties" in json.dumps(tool["inputSchema"])}
    assert {name for name, schema in made.items() if not schema["strict"]} == free == {"update_session_settings"}


def test_langchains_adapters_for_javascript_keep_them(request: pytest.FixtureRequest) -> None:
    """The schema that its tools carry is what every LangChain model is given."""
    folder = npm_folder(request, "langchain-mcp-adapters", *NPM, timeout_s=NPM_TIMEOUT_S)
    check("@langchain/mcp-adapters", _converted("node", str(HERE / "convert_langchain.cjs"), str(folder)))


def test_llama_index_keeps_the_fields_and_the_words_that_tell_of_kinds() -> None:
    """It makes a free object of any object in a list; the forms stand in the description for its sake."""
    made = _converted(str(client_python("llama")), str(HERE / "convert_llama.py"))["llama-index"]
    assert made.keys() == {tool["name"] for tool in TOOLS}
    for tool in TOOLS:
        ours, theirs = tool["inputSchema"], made[tool["name"]]
        assert theirs["properties"].keys() == ours["properties"].keys()
        assert theirs.get("required", []) == ours.get("required", [])
    until = made["wait_for_events"]["properties"]["until"]
    assert {"items": {"additionalProperties": True, "type": "object"}, "type": "array"} in [until, *until["anyOf"]]
    assert all(kind in until["description"] for kind in FORMS)
    assert all(field in until["description"] for field in SCHEMA["properties"] if field != "kind")
