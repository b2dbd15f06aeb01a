"""The tools that a Pipecat bot's LLM may call: the bot's own, and a supervisor's beside them."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema

from evi_mcp.link.commands import Refused


def tools_with(known: Any, added: Sequence[Any], without: Collection[str] = ()) -> Any:
    """The tools of a context, with some more and without some. `known` is its `tools`, which may be not given.

    Raises:
        Refused: The bot has a tool of this name.
    """
    direct = list(getattr(known, "direct_functions", ()))
    by_name = {tool.name: tool for tool in getattr(known, "standard_tools", ())}
    by_name |= {wrapper.name: wrapper.function for wrapper in direct}  # else Pipecat forgets their handlers
    own = {name: tool for name, tool in by_name.items() if name not in without}
    if doubled := [schema.name for schema in added if schema.name in own]:
        raise Refused(f"the bot has its own tool {', '.join(doubled)}; give yours another name")
    return ToolsSchema(standard_tools=[*own.values(), *added], custom_tools=getattr(known, "custom_tools", None))


def schema_of(tool: Mapping[str, Any], handler: Any) -> Any:
    """EVI's tool, whose `parameters` are a JSON Schema as text, as Pipecat has it.

    Raises:
        Refused: It is none.
    """
    name, parameters = tool.get("name"), tool.get("parameters")
    try:
        schema = json.loads(parameters) if isinstance(parameters, str) else parameters
    except ValueError:
        schema = None
    if not isinstance(name, str) or not name or not isinstance(schema, dict):
        raise Refused("a tool needs a `name`, and `parameters` that are a JSON Schema as text")
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(properties, dict) or not isinstance(required, list):
        raise Refused(f"the parameters of {name} are no JSON Schema of an object")
    return FunctionSchema(
        name=name,
        description=str(tool.get("description") or ""),
        properties=properties,
        required=required,
        handler=handler,
    )


def result_of(content: str) -> Any:
    """What Pipecat hands to the LLM: objects as objects, and never nothing, for which it would not run the LLM."""
    try:
        value = json.loads(content)
    except ValueError:
        value = content
    return value if isinstance(value, (dict, list)) and value else content or {"content": ""}
