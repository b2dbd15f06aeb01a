"""The twelve messages that EVI is documented to send, and the two that stand for anything else.

Fields and meanings: the AsyncAPI reference of `/v0/evi/chat/{chat_id}/connect` (its `SubscribeEvent`)
and Hume's Python and TypeScript SDKs, which are generated from it. All fields but `type` are optional
here, also those that the schema requires: an incomplete frame still happened in a live chat.
A text field that holds JSON of another type is read as its JSON text. Fields that no schema names are
kept (`model_extra`).
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, SecretStr, model_validator

from evi_mcp.protocol.parts import Inference, Interval, Milliseconds, Names, Said, Shape, Text
from evi_mcp.protocol.redaction import REDACTED, Mask, redact

RESERVED_TYPES = frozenset({"chat_state", "command", "protocol_fault"})
"""Types of events that this server makes itself; see `shown_type`."""
RESERVED_MARK = "service:"

BUILTIN = "builtin"


def shown_type(kind: str) -> str:
    """The name under which an unknown type is shown: if it is the name of a type of ours, it gets a prefix."""
    return f"{RESERVED_MARK}{kind}" if kind in RESERVED_TYPES else kind


class Message(Shape):
    """The base of every message. `custom_session_id` is the integrator's own correlation id."""

    type: str
    custom_session_id: Text = None

    def _masked(self, name: str, value: Any, mask: Mask) -> Any:
        # A known type is structure and stays; any other is text of the service's.
        return value if name == "type" and value in KNOWN_TYPES else super()._masked(name, value, mask)


class ChatMetadata(Message):
    """The ids of the chat. Usually the first message of a connection, but EVI does not promise that.

    Only a hub sends `source`, which is what the chat comes from, and `supports`, the types of the commands that it
    takes; without `supports` it takes all of EVI's.
    """

    type: Literal["chat_metadata"]
    chat_id: Text = None
    chat_group_id: Text = None
    request_id: Text = None
    source: Text = None
    supports: Names = None


class UserMessage(Message):
    """Something the user said, or typed through `user_input` (`from_text`).

    `interim` transcripts are provisional, come only to chats opened with `verbose_transcription`,
    and are superseded by the next one and by the final one. `late` is an adapter's: it came too late for its place.
    `id` is a bot's link's, for a `user_prosody`; EVI has none.
    """

    type: Literal["user_message"]
    id: Text = None
    message: Said = None
    models: Inference | None = None
    time: Interval | None = None
    from_text: bool = False
    interim: bool = False
    language: Text = None
    late: bool = False


class AssistantMessage(Message):
    """A sentence or chunk of EVI's turn; `id` is what its audio and prosody refer to.

    `from_text` means that it was given as `assistant_input`; `is_quick_response` marks the short
    first reply of EVI 3. Only adapters send `asked_text` (a given line that the service may reword),
    `reworded` (whether it did), `heard` (`none`, or `part` of it) and `late` (docs/services.md).
    """

    type: Literal["assistant_message"]
    id: Text = None
    message: Said = None
    models: Inference | None = None
    from_text: bool = False
    is_quick_response: bool = False
    language: Text = None
    asked_text: Text = None
    reworded: bool = False
    heard: Text = None
    late: bool = False


class AssistantProsody(Message):
    """The expression of EVI's own voice in the message `id`; it may come late."""

    type: Literal["assistant_prosody"]
    id: Text = None
    models: Inference | None = None


class UserProsody(Message):
    """The expression of the user's voice in the message `id`, where something beside the bot scores it. EVI has none:
    there it comes with the message."""

    type: Literal["user_prosody"]
    id: Text = None
    models: Inference | None = None


class AudioOutput(Message):
    """One chunk of EVI's voice: `data` is base64 of a small complete WAV, `index` counts within `id`."""

    type: Literal["audio_output"]
    id: Text = None
    index: int | None = None
    data: str | None = None


class AssistantEnd(Message):
    """EVI's turn is complete. It may be missing after an interruption or a tool call. Only adapters send `heard` and
    `heard_ms`, as in `UserInterruption`, if somebody other than the user has cut the turn."""

    type: Literal["assistant_end"]
    heard: Text = None
    heard_ms: Milliseconds | None = None


class UserInterruption(Message):
    """The user spoke over EVI. `time` is Unix time; its unit is not stated.

    Only adapters send `heard` (`none`, or `part` of it) and `heard_ms`: how much of the cut turn the user has heard.
    """

    type: Literal["user_interruption"]
    time: int | float | None = None
    heard: Text = None
    heard_ms: Milliseconds | None = None


def _is_for_clients(fields: dict[str, Any]) -> bool:
    return str(fields.get("tool_type")).lower() != BUILTIN


class ToolCall(Message):
    """EVI wants a function called. `parameters` is JSON text, perhaps empty or malformed.

    `tool_type` is `function` or `builtin` (a tool of EVI's own, which it answers itself). `response_required` says
    whether a client has to answer; if it is absent, a client has to, unless the tool is built in.
    """

    type: Literal["tool_call"]
    tool_call_id: Text = None
    name: Text = None
    parameters: Text = None
    tool_type: Text = "function"
    response_required: bool = Field(default_factory=_is_for_clients)


class ToolResponse(Message):
    """The result of a built-in tool, or another client's answer to a function's call."""

    type: Literal["tool_response"]
    tool_call_id: Text = None
    content: Text = None
    tool_name: Text = None
    tool_type: Text = None


class ToolError(Message):
    """A failed tool. `content` is what the LLM is given; `error` is for the record only."""

    sentences: ClassVar[frozenset[str]] = frozenset({"error"})

    type: Literal["tool_error"]
    tool_call_id: Text = None
    error: Text = None
    content: Text = None
    code: Text = None
    level: Text = None
    tool_type: Text = None


class SessionSettings(Message):
    """Settings that someone gave to the running chat, as the JSON values that came.

    Secrets are removed before anything is kept.
    """

    type: Literal["session_settings"]
    system_prompt: Any = None
    context: Any = None
    variables: Any = None
    voice_id: Any = None
    tools: Any = None
    builtin_tools: Any = None
    language_model_api_key: SecretStr | None = None
    metadata: Any = None
    audio: Any = None

    @model_validator(mode="before")
    @classmethod
    def _drop_secrets(cls, data: Any) -> Any:
        return redact(data)

    @property
    def shown(self) -> dict[str, Any]:
        """The fields that were set, including unknown ones, as plain data."""
        fields = {**self.__dict__, **(self.model_extra or {})}
        return {
            name: REDACTED if isinstance(value, SecretStr) else value
            for name, value in fields.items()
            if value is not None and name not in ("type", "custom_session_id")
        }


class ErrorMessage(Message):
    """Something went wrong in the chat. `code` starts with E (use), I (service) or W (warning).

    Only a hub sends `command` and `tool_call_id`: they name the command of ours that failed (docs/hub.md).
    """

    sentences: ClassVar[frozenset[str]] = frozenset({"code", "slug", "message"})

    type: Literal["error"]
    code: Text = None
    slug: Text = None
    message: Text = None
    request_id: Text = None
    command: Text = None
    tool_call_id: Text = None


class UnknownMessage(Message):
    """A message of an unknown type, kept as it came, but without secrets; `payload` is the whole object.

    `type` is the name that `shown_type` gives it.
    """

    type: str
    payload: dict[str, Any]


class ProtocolFault(Message):
    """A frame that is no message: not UTF-8, not a JSON object, without a type, or too long.

    The frame itself is not kept, because it may hold a secret. `reason` says in words what was wrong, `size` is its
    length in bytes, `binary` says whether the frame was a binary one, and equal frames have equal `digest`s.
    """

    type: Literal["protocol_fault"] = "protocol_fault"
    reason: str
    size: int
    binary: bool = False
    digest: int = 0

    def masked(self, mask: Mask) -> Self:
        """Itself: it holds nothing of the service's."""
        return self


Known = (
    ChatMetadata
    | UserMessage
    | AssistantMessage
    | AssistantProsody
    | UserProsody
    | AudioOutput
    | AssistantEnd
    | UserInterruption
    | ToolCall
    | ToolResponse
    | ToolError
    | SessionSettings
    | ErrorMessage
)
SubscribeMessage = Annotated[Known, Discriminator("type")]
KNOWN_TYPES: dict[str, type[Message]] = {
    model.model_fields["type"].annotation.__args__[0]: model for model in Known.__args__
}
