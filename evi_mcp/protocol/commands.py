"""The seven messages that a control-plane client may send, checked before they reach the network.

Fields: Hume's `ControlPlanePublishEvent` (AsyncAPI reference of `/connect`, OpenAPI reference of `/send`).
`audio_input` belongs to the chat's own socket and is refused here, as EVI's control plane does. Fields left
unset are not sent; `context=None`, set on purpose, is sent as `null`, which clears the context.
"""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    FiniteFloat,
    SecretStr,
    TypeAdapter,
    ValidationError,
    field_serializer,
    field_validator,
)

from evi_mcp.errors import InvalidCommand
from evi_mcp.protocol.codec import MAX_FRAME_BYTES
from evi_mcp.protocol.json_schema import schema_problem
from evi_mcp.protocol.redaction import REDACTED, redact
from evi_mcp.quoting import name

MAX_PROBLEMS = 5
"""How many wrong fields one error names."""

Text = Annotated[str, Field(min_length=1, pattern=r"\S")]
Id = Annotated[str, Field(min_length=1)]


class Command(BaseModel):
    """The base of all commands. `custom_session_id` correlates with the integrator's own data."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    type: str
    custom_session_id: str | None = None

    @classmethod
    def of(cls, **fields: Any) -> Self:
        """The command with these fields.

        Raises:
            InvalidCommand: EVI would not understand it; the text names every wrong field.
        """
        try:
            return cls(**fields)
        except ValidationError as error:
            raise InvalidCommand(_sentence(cls.model_fields["type"].default, error)) from None

    def frame(self) -> str:
        """The JSON text of the frame, `type` first.

        Raises:
            InvalidCommand: The frame would be larger than EVI accepts, or is not valid Unicode.
        """
        kind = self.type
        try:
            # pydantic leaves a default `type` out as unset; in this copy it is set.
            text = self.model_copy(update={"type": kind}).model_dump_json(exclude_unset=True)
            size = len(text.encode())
        except (UnicodeEncodeError, ValueError):
            raise InvalidCommand(f"{kind} was not sent: its text is not valid Unicode; send it without.") from None
        if size > MAX_FRAME_BYTES:
            raise InvalidCommand(
                f"{kind} was not sent: it takes {size} bytes and EVI accepts {MAX_FRAME_BYTES}; send less."
            )
        return text

    @property
    def disclosed(self) -> dict[str, Any]:
        """The fields that were set, except `type`, as plain data without secrets; `None` means that the field is
        cleared."""
        fields = self.model_dump(exclude_unset=True, exclude={"type"})
        return {name: REDACTED if isinstance(value, SecretStr) else redact(value) for name, value in fields.items()}


class Context(BaseModel):
    """Text for the LLM. `temporary` (the default) is used for the next user message, `persistent` until replaced."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    type: Literal["persistent", "temporary"] = "temporary"


class Tool(BaseModel):
    """A function that EVI may ask for. `parameters` is a JSON Schema, serialised as a string."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["function", "builtin"] = "function"
    name: Id
    parameters: str
    description: str | None = None
    fallback_content: str | None = None

    @field_validator("parameters")
    @classmethod
    def _is_a_json_schema(cls, value: str) -> str:
        if problem := schema_problem(value):
            raise ValueError(problem)
        return value


class BuiltinTool(BaseModel):
    """A tool of EVI's own; `fallback_content` is what the LLM gets if it fails."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["web_search", "hang_up"]
    fallback_content: str | None = None


class AudioConfiguration(BaseModel):
    """The format of the raw audio on the chat's own socket. Of no use to an observer, but part of the message."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoding: Literal["linear16"] = "linear16"
    sample_rate: int = Field(gt=0)
    channels: int = Field(gt=0)
    codec: str | None = None


class SessionSettings(Command):
    """Changes the running chat only. Fields left out keep their value (inferred, not documented)."""

    type: Literal["session_settings"] = "session_settings"
    system_prompt: str | None = None
    context: Context | None = None
    variables: dict[str, str | bool | int | FiniteFloat] | None = None
    voice_id: str | None = None
    tools: list[Tool] | None = None
    builtin_tools: list[BuiltinTool] | None = None
    language_model_api_key: SecretStr | None = None
    metadata: dict[str, Any] | None = None
    audio: AudioConfiguration | None = None

    @field_validator("metadata")
    @classmethod
    def _can_be_written(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        try:
            json.dumps(value, allow_nan=False)
        except (ValueError, RecursionError):
            raise ValueError("holds a number that JSON does not have, or nests too deeply") from None
        return value

    @field_serializer("language_model_api_key", when_used="json-unless-none")
    def _on_the_wire(self, key: SecretStr) -> str:
        return key.get_secret_value()  # the frame is the one place where it is written out

    @property
    def shown(self) -> dict[str, Any]:
        """As `disclosed`, without `custom_session_id`."""
        return {name: value for name, value in self.disclosed.items() if name != "custom_session_id"}


class UserInput(Command):
    """EVI answers this text as if the user had said it. It comes back as a `user_message` with `from_text`."""

    type: Literal["user_input"] = "user_input"
    text: Text


class AssistantInput(Command):
    """EVI speaks this text as written, without the LLM. It comes back as an `assistant_message` with `from_text`."""

    type: Literal["assistant_input"] = "assistant_input"
    text: Text


class ToolResponse(Command):
    """The answer to a `tool_call`. `content` is text for the LLM; `tool_name` repeats the call's `name`."""

    type: Literal["tool_response"] = "tool_response"
    tool_call_id: Id
    content: str
    tool_name: str | None = None
    tool_type: Literal["function", "builtin"] | None = None


class ToolError(Command):
    """Says that a tool failed. `error` is for the record; `content` is what the LLM gets in place of a result."""

    type: Literal["tool_error"] = "tool_error"
    tool_call_id: Id
    error: str
    content: str | None = None
    code: str | None = None
    level: Literal["warn"] | None = None
    tool_type: Literal["function", "builtin"] | None = None


class PauseAssistantMessage(Command):
    """Silences EVI until `resume_assistant_message`; it goes on listening. Not acknowledged."""

    type: Literal["pause_assistant_message"] = "pause_assistant_message"


class ResumeAssistantMessage(Command):
    """Lets EVI speak again; it answers the last thing the user said. Not acknowledged."""

    type: Literal["resume_assistant_message"] = "resume_assistant_message"


PublishMessage = Annotated[
    SessionSettings
    | UserInput
    | AssistantInput
    | ToolResponse
    | ToolError
    | PauseAssistantMessage
    | ResumeAssistantMessage,
    Discriminator("type"),
]
publish_adapter: TypeAdapter[Command] = TypeAdapter(PublishMessage, config=ConfigDict(defer_build=True))
"""Reads any of the seven from JSON, for those who serve EVI's control plane: the hub, and the simulator on it."""
EVI_COMMANDS = (
    "session_settings",
    "user_input",
    "assistant_input",
    "tool_response",
    "tool_error",
    "pause_assistant_message",
    "resume_assistant_message",
)
"""The types of the seven. A chat without `supports` takes exactly these."""


def _sentence(kind: str, error: ValidationError) -> str:
    """One sentence for an agent, without the values: they may be secrets."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    problems = "; ".join(
        f"{'.'.join(name(str(part)[:40]) for part in problem['loc']) or 'the message'}: {_plain(problem)}"
        for problem in found[:MAX_PROBLEMS]
    )
    rest = f"; and {len(found) - MAX_PROBLEMS} more" if len(found) > MAX_PROBLEMS else ""
    return f"{kind} was not sent, because EVI would not understand it: {problems}{rest}."


def _plain(problem: Any) -> str:
    kinds = {
        "missing": "is required",
        "extra_forbidden": "is not a field of this message",
        "string_too_short": "must not be empty",
        "string_pattern_mismatch": "must not be empty",
    }
    message: str = kinds.get(problem["type"], problem["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
