"""Tools of MCP as functions of chat completions, and back."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import mcp_types as types

from evals.endpoint import FunctionCall, Reply


def functions_of(tools: Sequence[types.Tool]) -> list[dict[str, Any]]:
    """The tools as a model is given them."""
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description or "", "parameters": tool.input_schema},
        }
        for tool in tools
    ]


def arguments_of(call: FunctionCall) -> dict[str, Any]:
    """The arguments of a call; no text is no arguments.

    Raises:
        ValueError: They are no JSON object; the text says so to the model.
    """
    text = call.arguments.strip() or "{}"
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{call.name} was not run: its arguments are no JSON ({error}).") from None
    if not isinstance(found, dict):
        raise ValueError(f"{call.name} was not run: its arguments are no JSON object.")
    return found


def assistant_message(reply: Reply) -> dict[str, Any]:
    """The model's message as it stands in the conversation. Arguments that are no JSON become none: endpoints refuse
    a conversation that has them."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.content}
    if reply.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _sound(call)}}
            for call in reply.calls
        ]
    return message


def tool_message(call: FunctionCall, text: str) -> dict[str, Any]:
    """A result, as the model reads it."""
    return {"role": "tool", "tool_call_id": call.id, "content": text}


def text_of(result: types.CallToolResult) -> str:
    """What a client that shows text shows of a result."""
    return "\n".join(block.text for block in result.content if isinstance(block, types.TextContent))


def _sound(call: FunctionCall) -> str:
    try:
        arguments: Mapping[str, Any] = arguments_of(call)
    except ValueError:
        return "{}"
    return json.dumps(arguments, ensure_ascii=False)
