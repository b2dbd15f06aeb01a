"""Coaching the assistant: the settings of the running chat."""

import json
from functools import partial
from typing import Annotated, Any, Literal

import anyio
import mcp_types as types
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from evi_mcp.access.callers import Access
from evi_mcp.config import SECRETS
from evi_mcp.errors import InvalidArgument, listing
from evi_mcp.protocol.commands import SessionSettings
from evi_mcp.quoting import quote
from evi_mcp.server.tools.spec import ChatId, ToolContext, ToolSpec, desk_of, receipt
from evi_mcp.views import shapes


class FunctionTool(BaseModel):
    """A function that EVI may ask for with a `tool_call`."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(description="Name that the `tool_call` will carry.")]
    parameters: Annotated[
        str | dict[str, Any], Field(description="JSON Schema of the arguments, as an object or as its JSON text.")
    ]
    description: Annotated[str, Field(description="Tells the LLM when to call it.")] = ""
    fallback_content: Annotated[str, Field(description="What the LLM is told if the tool fails.")] = ""
    type: Literal["function"] = "function"


class BuiltinTool(BaseModel):
    """A tool that EVI runs by itself."""

    model_config = ConfigDict(extra="forbid")

    name: Literal["web_search", "hang_up"]
    fallback_content: Annotated[str, Field(description="What the LLM is told if the tool fails.")] = ""


def _in_one_sentence(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError:
        raise ValueError("a value is a text, a number, true or false") from None  # else one complaint for each of them


async def update_session_settings(
    ctx: ToolContext,
    chat_id: ChatId,
    system_prompt: Annotated[str, Field(description="Replaces the system prompt from now on.")] = "",
    context: Annotated[str, Field(description="Text for the LLM, added to the user's messages; never spoken.")] = "",
    context_type: Annotated[
        Literal["temporary", "persistent"] | None,
        Field(description="With context: for the next user message only (EVI's default), or for all until replaced."),
    ] = None,
    clear_context: Annotated[bool, Field(description="Takes the context away; not together with context.")] = False,
    variables: Annotated[
        dict[str, Annotated[str | bool | int | FiniteFloat, WrapValidator(_in_one_sentence)]] | None,
        Field(description="Values for {{name}} in the prompt."),
    ] = None,
    voice_id: Annotated[str, Field(description="Switches EVI's voice, which the person on the line hears.")] = "",
    tools: Annotated[list[FunctionTool] | None, Field(description="Functions that EVI may ask for.")] = None,
    builtin_tools: Annotated[list[BuiltinTool] | None, Field(description="EVI's own tools that it may use.")] = None,
    metadata: Annotated[dict[str, Any] | None, Field(description="Free data kept with the session.")] = None,
    custom_session_id: Annotated[str, Field(description="An id of your own, for correlation.")] = "",
    language_model_api_key_name: Annotated[
        str, Field(description="Names a secret of this server (EVI_MCP_SECRET_<NAME>); its value is never shown.")
    ] = "",
) -> Annotated[types.CallToolResult, shapes.Receipt]:
    """Change the prompt, context, variables, voice or tools of the running chat; what is left out keeps its value."""
    fields: dict[str, Any] = {
        "system_prompt": system_prompt,
        "variables": variables,
        "voice_id": voice_id,
        "metadata": metadata,
        "custom_session_id": custom_session_id,
    }
    fields = {name: value for name, value in fields.items() if value not in (None, "")}
    fields |= _context(context, context_type, clear_context)
    if tools is not None:
        fields["tools"] = [_wire_tool(tool) for tool in tools]
    if builtin_tools is not None:
        fields["builtin_tools"] = [tool.model_dump(exclude_defaults=True) for tool in builtin_tools]
    if language_model_api_key_name:
        fields["language_model_api_key"] = _secret(ctx, language_model_api_key_name)
    if not fields:
        raise InvalidArgument("update_session_settings was given nothing to change, so nothing was sent.")
    # A large schema takes its time, in which other agents and timers go on.
    command = await anyio.to_thread.run_sync(partial(SessionSettings.of, **fields))
    return receipt(ctx, await desk_of(ctx).update_session_settings(chat_id, command))


def _context(text: str, kind: str | None, clear: bool) -> dict[str, Any]:
    if clear and (text or kind):
        raise InvalidArgument("clear_context and context contradict each other, so nothing was sent; give one of them.")
    if kind and not text:
        raise InvalidArgument("context_type was given without a context, so nothing was sent.")
    if clear:
        return {"context": None}
    return {"context": {"text": text, **({"type": kind} if kind else {})}} if text else {}


def _wire_tool(tool: FunctionTool) -> dict[str, Any]:
    fields = tool.model_dump(exclude_defaults=True) | {"type": tool.type}
    if not isinstance(tool.parameters, str):
        fields["parameters"] = json.dumps(tool.parameters, ensure_ascii=False, separators=(",", ":"))
    return fields


def _secret(ctx: ToolContext, name: str) -> Any:
    secrets = ctx.request_context.lifespan_context.service.settings.secrets
    secret = secrets.get(name)
    if secret is None:
        have = f"there are {listing(secrets)}" if secrets else "there is none"
        raise InvalidArgument(
            f"there is no secret {quote(name, 80)}, {have}; nothing was sent, whoever configures the server sets"
            f" {SECRETS}<NAME>."
        )
    return secret


TOOLS = (
    ToolSpec(
        update_session_settings,
        "Change the chat's settings",
        Access.COACH,
        read_only=False,
        idempotent=False,
        destructive=True,
    ),
)
