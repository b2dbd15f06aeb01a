"""Run by the Python of the group `agents`: the tools on stdin, as each framework gives them to its model, on stdout."""

import json
import sys
from typing import Any

from agents.mcp import MCPServerStdio
from agents.mcp.util import MCPUtil
from google.adk.tools._gemini_schema_util import _to_gemini_schema
from langchain_google_genai._function_utils import convert_to_genai_function_declarations
from langchain_mcp_adapters.tools import convert_mcp_tool_to_langchain_tool
from mcp.types import Tool
from pydantic_ai.profiles.google import GoogleJsonSchemaTransformer
from pydantic_ai.profiles.openai import OpenAIJsonSchemaTransformer


def schema_of(tool: Any) -> dict[str, Any]:
    """The `mcp` of this group is another one than ours."""
    return dict(tool.inputSchema)


def openai_agents(tool: Tool) -> Any:
    """Strict where it can be, as `MCPServerStdio` has it with `convert_schemas_to_strict`."""
    server = MCPServerStdio(params={"command": "true"})
    made = MCPUtil.to_function_tool(tool, server, convert_schemas_to_strict=True)
    return {"strict": made.strict_json_schema, **made.params_json_schema}


def langchain_google_genai(tool: Tool) -> Any:
    """What Gemini is sent for a tool of `langchain-mcp-adapters`."""
    connection: Any = {"transport": "stdio", "command": "true", "args": []}
    made = convert_mcp_tool_to_langchain_tool(None, tool, connection=connection)
    [group] = convert_to_genai_function_declarations([made])
    [declaration] = group.function_declarations or []
    shown = declaration.model_dump(mode="json", exclude_none=True)
    return shown.get("parameters") or shown["parameters_json_schema"]


def google_adk(tool: Tool) -> Any:
    """What Gemini is sent by ADK."""
    made = _to_gemini_schema(schema_of(tool))
    return made.model_dump(mode="json", exclude_none=True)


CONVERTERS = {
    "openai-agents": openai_agents,
    "langchain-google-genai": langchain_google_genai,
    "pydantic-ai for OpenAI, strict": lambda tool: OpenAIJsonSchemaTransformer(schema_of(tool), strict=True).walk(),
    "pydantic-ai for Gemini": lambda tool: GoogleJsonSchemaTransformer(schema_of(tool)).walk(),
    "google-adk": google_adk,
}

if __name__ == "__main__":
    tools = [Tool.model_validate(tool) for tool in json.load(sys.stdin)]
    made = {name: {tool.name: convert(tool) for tool in tools} for name, convert in CONVERTERS.items()}
    print(json.dumps(made))
