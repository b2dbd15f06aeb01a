"""The twelve messages that EVI is documented to send, and the two that stand for anything else.

Fields and meanings: the AsyncAPI reference of `/v0/evi/chat/{chat_id}/connect` (its `SubscribeEvent`)
and Hume's Python and TypeScript SDKs, which are generated from it. All fields but `type` are optional
here, also those that the schema requires: a frame with a hole in it still happened in a live chat.
Fields that no schema names are kept (`model_extra`).
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, SecretStr, model_validator

from evi_mcp.protocol.prosody import SCORE_NAMES
from evi_mcp.protocol.redaction import REDACTED, Mask, redact


class Shape(BaseModel):
    """The base of every shape on the wire: immutable, and unknown fields are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    sentences: ClassVar[frozenset[str]] = frozenset()
    """The fields that hold sentences of the service's own."""

    def masked(self, mask: Mask) -> Self:
        """The same without secrets. The names of fields that a schema names are structure and stay; a number that shows
        a secret becomes `None`."""
        copied = self.model_copy(
            update={name: self._masked(name, value, mask) for name, value in self.__dict__.items()}
        )
        if copied.__pydantic_extra__:
            # Names that no schema names are the service's words. A frozen model has no other way to lose one.
            object.__setattr__(copied, "__pydantic_extra__", mask(copied.__pydantic_extra__))
        return copied

    def _masked(self, name: str, value: Any, mask: Mask) -> Any:
        if isinstance(value, Shape):
            return value.masked(mask)
        if isinstance(value, str) and name in self.sentences:
            return mask.said(value)
        return None if mask.hides(value) else mask(value)


class Message(Shape):
    """The base of every message. `custom_session_id` is the integrator's own correlation id."""

    type: str
    custom_session_id: str | None = None

    def _masked(self, name: str, value: Any, mask: Mask) -> Any:
        # A type that a schema names is structure; any other is the service's word.
        return value if name == "type" and value in KNOWN_TYPES else super()._masked(name, value, mask)


MAX_SCORE = 1000.0
"""No score is so far from 0; sums of much larger ones would not be numbers any more."""


class Prosody(Shape):
    """Expression in a voice: up to 48 scores, mostly 0 to 1, slightly negative ones occur."""

    scores: dict[str, Annotated[float, Field(ge=-MAX_SCORE, le=MAX_SCORE, allow_inf_nan=False)]] = {}

    def _masked(self, name: str, value: Any, mask: Mask) -> Any:
        if name != "scores":
            return super()._masked(name, value, mask)
        return {score if score in SCORE_NAMES else mask(score): number for score, number in value.items()}


class Inference(Shape):
    """What models said of an utterance; `prosody` is `None` for typed text, which has no voice."""

    prosody: Prosody | None = None


class Interval(Shape):
    """Where an utterance lies, in milliseconds. Inferred: since the start of the chat's audio."""

    begin: int | None = None
    end: int | None = None


class ChatMessage(Shape):
    """A transcript. `role` is an open set: `user`, `assistant`, `system`, `tool`, `all`, `context`."""

    role: str | None = None
    content: str | None = None
    tool_call: dict[str, Any] | None = None
    tool_result: dict[str, Any] | None = None


class ChatMetadata(Message):
    """The ids of the chat; expected first on a connection, which is not promised."""

    type: Literal["chat_metadata"]
    chat_id: str | None = None
    chat_group_id: str | None = None
    request_id: str | None = None


class UserMessage(Message):
    """Something the user said, or typed through `user_input` (`from_text`).

    `interim` transcripts are provisional, come only to chats opened with `verbose_transcription`,
    and are superseded by the next one and by the final one.
    """

    type: Literal["user_message"]
    message: ChatMessage | None = None
    models: Inference | None = None
    time: Interval | None = None
    from_text: bool = False
    interim: bool = False
    language: str | None = None


class AssistantMessage(Message):
    """A sentence or chunk of EVI's turn; `id` is what its audio and prosody refer to.

    `from_text` means that it was given as `assistant_input`; `is_quick_response` marks the short
    first reply of EVI 3.
    """

    type: Literal["assistant_message"]
    id: str | None = None
    message: ChatMessage | None = None
    models: Inference | None = None
    from_text: bool = False
    is_quick_response: bool = False
    language: str | None = None


class AssistantProsody(Message):
    """The expression of EVI's own voice in the message `id`; it may come late."""

    type: Literal["assistant_prosody"]
    id: str | None = None
    models: Inference | None = None


class AudioOutput(Message):
    """One chunk of EVI's voice: `data` is base64 of a small complete WAV, `index` counts within `id`."""

    type: Literal["audio_output"]
    id: str | None = None
    index: int | None = None
    data: str | None = None


class AssistantEnd(Message):
    """EVI's turn is complete. Interruptions and tool calls may leave it out."""

    type: Literal["assistant_end"]


class UserInterruption(Message):
    """The user spoke over EVI. `time` is Unix time; its unit is not stated."""

    type: Literal["user_interruption"]
    time: int | float | None = None


class ToolCall(Message):
    """EVI wants a function called. `parameters` is JSON text, perhaps empty or malformed."""

    type: Literal["tool_call"]
    tool_call_id: str | None = None
    name: str | None = None
    parameters: str | None = None
    response_required: bool = True
    tool_type: str = "function"


class ToolResponse(Message):
    """The result of a built-in tool, or another client's answer to a function's call."""

    type: Literal["tool_response"]
    tool_call_id: str | None = None
    content: str | None = None
    tool_name: str | None = None
    tool_type: str | None = None


class ToolError(Message):
    """A failed tool. `content` is what the LLM is given; `error` is for the record only."""

    sentences: ClassVar[frozenset[str]] = frozenset({"error"})

    type: Literal["tool_error"]
    tool_call_id: str | None = None
    error: str | None = None
    content: str | None = None
    code: str | None = None
    level: str | None = None
    tool_type: str | None = None


class SessionSettings(Message):
    """Settings that someone gave to the running chat. Its secrets are gone before anything is kept."""

    type: Literal["session_settings"]
    system_prompt: str | None = None
    context: dict[str, Any] | None = None
    variables: dict[str, Any] | None = None
    voice_id: str | None = None
    tools: list[Any] | None = None
    builtin_tools: list[Any] | None = None
    language_model_api_key: SecretStr | None = None
    metadata: dict[str, Any] | None = None
    audio: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_secrets(cls, data: Any) -> Any:
        return redact(data)

    @property
    def shown(self) -> dict[str, Any]:
        """The fields that were set, those that no schema names too, as plain data."""
        fields = {**self.__dict__, **(self.model_extra or {})}
        return {
            name: REDACTED if isinstance(value, SecretStr) else value
            for name, value in fields.items()
            if value is not None and name not in ("type", "custom_session_id")
        }


class ErrorMessage(Message):
    """Something went wrong in the chat. `code` starts with E (use), I (service) or W (warning)."""

    sentences: ClassVar[frozenset[str]] = frozenset({"code", "slug", "message"})

    type: Literal["error"]
    code: str | None = None
    slug: str | None = None
    message: str | None = None
    request_id: str | None = None


class UnknownMessage(Message):
    """A type that no schema names yet, kept as it came but for secrets; `payload` is the whole object."""

    type: str
    payload: dict[str, Any]


class ProtocolFault(Message):
    """A frame that is no message: not a JSON object, or binary, or without a type.

    The frame itself is not kept, for it could hold anything, a secret too: `reason` says in words what
    was wrong, `size` is its length (characters of text, bytes if `binary`), `digest` tells equal ones.
    """

    type: Literal["protocol_fault"] = "protocol_fault"
    reason: str
    size: int
    binary: bool = False
    digest: int = 0

    def masked(self, mask: Mask) -> Self:
        """Itself: there is nothing of the service's in it."""
        return self


Known = (
    ChatMetadata
    | UserMessage
    | AssistantMessage
    | AssistantProsody
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
