"""Coaching the assistant: a whisper to its LLM, and the settings of the running chat."""

from collections.abc import Mapping
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
    WithJsonSchema,
    WrapValidator,
    model_validator,
)

from evi_mcp.access.callers import Access
from evi_mcp.config import SECRETS
from evi_mcp.errors import InvalidArgument, listing
from evi_mcp.protocol.commands import SessionSettings
from evi_mcp.quoting import quote
from evi_mcp.server.tools.spec import ChatId, ToolContext, ToolSpec, desk_of, receipt
from evi_mcp.server.tools.written import Written
from evi_mcp.views import shapes


class FunctionTool(BaseModel):
    """A function that EVI may ask for with a `tool_call`."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(description="Name that the `tool_call` will carry.")]
    parameters: Annotated[Written, Field(description="A JSON Schema.")]
    description: Annotated[str, Field(description="Tells the LLM when to call it.")] = ""
    fallback_content: Annotated[str, Field(description="What the LLM is told if the tool fails.")] = ""

    @model_validator(mode="before")
    @classmethod
    def _without_its_type(cls, value: Any) -> Any:
        """EVI's own form of a function has a type, of which there is one."""
        if isinstance(value, dict) and value.get("type") == "function":
            return {name: field for name, field in value.items() if name != "type"}
        return value


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


CLEARED: Mapping[str, Any] = {"context": None, "variables": {}, "tools": [], "builtin_tools": [], "metadata": {}}
"""What can be taken away, and what is sent for it."""


async def whisper(
    ctx: ToolContext,
    chat_id: ChatId,
    text: Annotated[
        Written,
        Field(description="What it is to know: text or JSON."),
    ],
    persistent: Annotated[
        bool,
        Field(description="For all answers from now on, not the next alone."),
    ] = False,
) -> Annotated[types.CallToolResult, shapes.Receipt]:
    """Tell EVI's LLM something, text or JSON, that nobody hears."""
    if not text.strip():
        raise InvalidArgument("text is empty, so there is nothing to whisper and nothing was sent.")
    kind = {"type": "persistent"} if persistent else {}  # the other one is EVI's default
    command = SessionSettings.of(context={"text": text, **kind})
    return receipt(ctx, await desk_of(ctx).update_session_settings(chat_id, command))


async def update_session_settings(
    ctx: ToolContext,
    chat_id: ChatId,
    system_prompt: Annotated[str, Field(description="Replaces the system prompt from now on.")] = "",
    variables: Annotated[
        dict[str, Annotated[str | bool | int | FiniteFloat, WrapValidator(_in_one_sentence)]],
        WithJsonSchema({"type": "object"}),
        Field(description="Values for {{name}} in the prompt."),
    ] = {},  # noqa: B006  # an empty default is a plain schema, and nobody changes it
    voice_id: Annotated[str, Field(description="Switches EVI's voice, which the person on the line hears.")] = "",
    tools: Annotated[list[FunctionTool], Field(description="In place of all functions that EVI may ask for.")] = [],  # noqa: B006
    builtin_tools: Annotated[list[BuiltinTool], Field(description="EVI's own tools, in place of all.")] = [],  # noqa: B006
    metadata: Annotated[dict[str, Any], Field(description="Free data kept with the session.")] = {},  # noqa: B006
    language_model_api_key_name: Annotated[
        str, Field(description="Names a secret of this server (EVI_MCP_SECRET_<NAME>); its value is never shown.")
    ] = "",
    clear: Annotated[
        list[Literal["context", "variables", "tools", "builtin_tools", "metadata"]],
        Field(description="What to take away from the running chat; an empty value elsewhere changes nothing."),
    ] = [],  # noqa: B006
) -> Annotated[types.CallToolResult, shapes.Receipt]:
    """Change the running chat; what is left out or empty keeps its value."""
    fields: dict[str, Any] = {
        "system_prompt": system_prompt,
        "variables": variables,
        "voice_id": voice_id,
        "metadata": metadata,
        "tools": [_wire_tool(tool) for tool in tools],
        "builtin_tools": [tool.model_dump(exclude_defaults=True) for tool in builtin_tools],
    }
    fields = {name: value for name, value in fields.items() if value}
    if both := fields.keys() & set(clear):
        raise InvalidArgument(f"clear takes away what is given beside it ({listing(sorted(both))}); nothing was sent.")
    fields |= {name: CLEARED[name] for name in clear}
    if language_model_api_key_name:
        fields["language_model_api_key"] = _secret(ctx, language_model_api_key_name)
    if not fields:
        raise InvalidArgument(
            "update_session_settings was given nothing to change, so nothing was sent; `clear` takes away,"
            " whisper gives context."
        )
    # A large schema takes its time, in which other agents and timers go on.
    command = await anyio.to_thread.run_sync(partial(SessionSettings.of, **fields))
    return receipt(ctx, await desk_of(ctx).update_session_settings(chat_id, command))


def _wire_tool(tool: FunctionTool) -> dict[str, Any]:
    return tool.model_dump(exclude_defaults=True) | {"type": "function"}


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
    ToolSpec(whisper, "Whisper to EVI", Access.COACH, read_only=False, idempotent=False),
    ToolSpec(
        update_session_settings,
        "Change the chat's settings",
        Access.COACH,
        read_only=False,
        idempotent=False,
        destructive=True,
    ),
)
