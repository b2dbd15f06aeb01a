"""What a hub may ask of a bot: EVI's seven messages of the control plane, and two that EVI has not.

Fields as Hume's `ControlPlanePublishEvent` has them. Values of another JSON type than expected are refused, with a
reason that names the field and not the value. Unknown fields are ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar


class Refused(Exception):
    """A command that this bot does not carry out. The text goes to whoever sent it: say what can be done instead."""


class Command:
    """What a hub may ask; `type` is EVI's word for it."""

    __slots__ = ()
    type: ClassVar[str]


@dataclass(frozen=True, slots=True)
class UserInput(Command):
    """Taken as if the user had said it: the bot answers."""

    type: ClassVar[str] = "user_input"
    text: str


@dataclass(frozen=True, slots=True)
class AssistantInput(Command):
    """To be spoken as written, without the LLM."""

    type: ClassVar[str] = "assistant_input"
    text: str


@dataclass(frozen=True, slots=True)
class ToolResponse(Command):
    """The answer to a tool call. `content` is text for the LLM."""

    type: ClassVar[str] = "tool_response"
    tool_call_id: str
    content: str


@dataclass(frozen=True, slots=True)
class ToolError(Command):
    """A tool failed. `error` is for the record, `content` is what the LLM gets; `None`: the tool's own fallback."""

    type: ClassVar[str] = "tool_error"
    tool_call_id: str
    error: str
    content: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """Text for the LLM. `persistent`: until replaced; else for the next user message only."""

    text: str
    persistent: bool = False


@dataclass(frozen=True, slots=True)
class SessionSettings(Command):
    """Changes the running chat. Only the fields in `changed` were sent; `context` with `None` clears it.

    `raw` is the message as it came, with the key of a language model in it if there is one.
    """

    type: ClassVar[str] = "session_settings"
    raw: Mapping[str, Any] = field(repr=False)
    system_prompt: str | None = None
    context: Context | None = None
    variables: Mapping[str, Any] | None = None
    voice_id: str | None = None
    tools: tuple[Mapping[str, Any], ...] | None = None

    @property
    def changed(self) -> frozenset[str]:
        """The names of the fields that were sent."""
        return frozenset(self.raw) - {"type", "custom_session_id"}


@dataclass(frozen=True, slots=True)
class PauseAssistantMessage(Command):
    """Say nothing and use no tools until resumed; go on listening."""

    type: ClassVar[str] = "pause_assistant_message"


@dataclass(frozen=True, slots=True)
class ResumeAssistantMessage(Command):
    """Speak again; answer what was said last."""

    type: ClassVar[str] = "resume_assistant_message"


@dataclass(frozen=True, slots=True)
class EndChat(Command):
    """End the call. Not EVI's. `text` is spoken before, if there is any."""

    type: ClassVar[str] = "end_chat"
    text: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class TransferChat(Command):
    """Hand the call to somebody else, for example `tel:+33...`. Not EVI's."""

    type: ClassVar[str] = "transfer_chat"
    target_uri: str


def command_of(message: Any) -> Command:
    """The command in a message from the hub.

    Raises:
        Refused: It is none, or a field is missing or of another type.
    """
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise Refused("a command is an object with a type")
    fields = _Fields(message)
    match message["type"]:
        case UserInput.type:
            return UserInput(fields.text("text"))
        case AssistantInput.type:
            return AssistantInput(fields.text("text"))
        case ToolResponse.type:
            return ToolResponse(fields.text("tool_call_id"), fields.text("content", empty=True))
        case ToolError.type:
            return ToolError(
                fields.text("tool_call_id"),
                fields.optional("error") or "the tool failed",
                fields.optional("content"),
                fields.optional("code"),
            )
        case SessionSettings.type:
            return _settings(message, fields)
        case PauseAssistantMessage.type:
            return PauseAssistantMessage()
        case ResumeAssistantMessage.type:
            return ResumeAssistantMessage()
        case EndChat.type:
            return EndChat(fields.optional("text"), fields.optional("reason"))
        case TransferChat.type:
            return TransferChat(fields.text("target_uri"))
    raise Refused(f"this link knows no command {message['type'][:80]!r}")


class _Fields:
    """Reads the fields of a message, each with its type."""

    def __init__(self, message: Mapping[str, Any]) -> None:
        self._message = message

    def text(self, name: str, *, empty: bool = False) -> str:
        value = self._message.get(name)
        if not isinstance(value, str) or not (empty or value.strip()):
            raise Refused(f"`{name}` must be text" + ("" if empty else " and not empty"))
        return value

    def optional(self, name: str) -> str | None:
        return None if self._message.get(name) is None else self.text(name, empty=True)

    def mapping(self, name: str) -> Mapping[str, Any] | None:
        value = self._message.get(name)
        if value is not None and not isinstance(value, dict):
            raise Refused(f"`{name}` must be an object")
        return value

    def mappings(self, name: str) -> tuple[Mapping[str, Any], ...] | None:
        value = self._message.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise Refused(f"`{name}` must be a list of objects")
        return tuple(value)


def _settings(message: Mapping[str, Any], fields: _Fields) -> SessionSettings:
    context = fields.mapping("context")
    if context is not None:
        inner = _Fields(context)
        kind = inner.optional("type")
        if kind not in (None, "temporary", "persistent"):
            raise Refused("the context's `type` is `temporary` or `persistent`")
    return SessionSettings(
        raw=message,
        system_prompt=fields.optional("system_prompt"),
        context=None if context is None else Context(inner.text("text"), kind == "persistent"),
        variables=fields.mapping("variables"),
        voice_id=fields.optional("voice_id"),
        tools=fields.mappings("tools"),
    )
