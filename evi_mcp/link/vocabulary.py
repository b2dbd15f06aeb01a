"""EVI's words as methods: what a bot tells, each as the message that EVI would send."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from evi_mcp.link.messages import Message, cut, inference, text_of, wav_base64


class Vocabulary(ABC):
    """What tells of one chat. No method waits or raises.

    Args:
        chat_id: The chat's id.
        chat_group_id: What several chats of one person share; `None` if nothing.
    """

    def __init__(self, chat_id: str, chat_group_id: str | None) -> None:
        self.chat_id = chat_id
        self.chat_group_id = chat_group_id
        self._began = time.monotonic()
        self._audio_index: tuple[str, int] = ("", 0)

    @abstractmethod
    def message(self, message: Mapping[str, Any]) -> None:
        """Any message of EVI's, or of a type of your own, which is kept as it is."""

    @abstractmethod
    def log_fault(self, error: Exception) -> None:
        """Something could not be told."""

    @property
    def now_ms(self) -> int:
        """Milliseconds since this link was made, at least 1: what EVI's `time` counts."""
        return self.position_ms(time.monotonic())

    def position_ms(self, monotonic_s: float) -> int:
        """A moment of `time.monotonic()` as EVI's `time`."""
        return max(1, round((monotonic_s - self._began) * 1000))

    def user_message(
        self,
        text: str,
        *,
        interim: bool = False,
        from_text: bool = False,
        begin_ms: int | None = None,
        end_ms: int | None = None,
        language: str | None = None,
        scores: Mapping[str, float] | None = None,
    ) -> Message:
        """The user said something. `interim`: provisional. `from_text`: it was a `user_input`. Times: as `now_ms`."""
        end = self.now_ms if end_ms is None else end_ms
        message = Message(uuid4().hex, "user")
        self.message(
            {
                "type": "user_message",
                "id": message.id,
                "message": {"role": "user", "content": cut(text)},
                "models": inference(scores),
                "time": {"begin": end if begin_ms is None else begin_ms, "end": end},
                "from_text": from_text,
                "interim": interim,
                **given(language=language),
            }
        )
        return message

    def assistant_message(
        self,
        text: str,
        *,
        from_text: bool = False,
        is_quick_response: bool = False,
        language: str | None = None,
        scores: Mapping[str, float] | None = None,
    ) -> Message:
        """The bot says something, a sentence at a time. `from_text`: it was an `assistant_input`."""
        message = Message(uuid4().hex, "assistant")
        self.message(
            {
                "type": "assistant_message",
                "id": message.id,
                "message": {"role": "assistant", "content": cut(text)},
                "models": inference(scores),
                "from_text": from_text,
                "is_quick_response": is_quick_response,
                **given(language=language),
            }
        )
        return message

    def assistant_end(self) -> None:
        """The bot's turn is complete."""
        self.message({"type": "assistant_end"})

    def user_interruption(self) -> None:
        """The user cut in: what the bot was saying was not heard to its end."""
        self.message({"type": "user_interruption", "time": int(time.time())})

    def tool_call(
        self, tool_call_id: str, name: str, parameters: str | Mapping[str, Any], *, response_required: bool = False
    ) -> None:
        """A tool was called. `response_required`: a supervisor has to answer it; else the bot does by itself."""
        self.message(
            {
                "type": "tool_call",
                "tool_call_id": tool_call_id,
                "name": name,
                "parameters": text_of(parameters),
                "tool_type": "function",
                "response_required": response_required,
            }
        )

    def tool_response(self, tool_call_id: str, content: Any, *, name: str | None = None) -> None:
        """A tool has answered; content that is no text is shown as JSON."""
        told = {"type": "tool_response", "tool_call_id": tool_call_id, "content": text_of(content)}
        self.message({**told, "tool_type": "function", **given(tool_name=name)})

    def tool_error(self, tool_call_id: str, error: str, *, content: str | None = None, code: str | None = None) -> None:
        """A tool has failed. `content` is what the LLM gets in place of a result."""
        told = {"type": "tool_error", "tool_call_id": tool_call_id, "error": cut(error), "level": "warn"}
        self.message({**told, "tool_type": "function", **given(content=content, code=code)})

    def audio_output(self, message: Message, pcm: bytes, sample_rate: int, channels: int = 1) -> None:
        """What the bot said sounds like this: 16-bit PCM, a chunk at a time. Dropped first where there is no room."""
        last, index = self._audio_index
        index = index + 1 if last == message.id else 0
        self._audio_index = (message.id, index)
        try:
            data = wav_base64(pcm, sample_rate, channels)
        except Exception as error:
            self.log_fault(error)
            return
        self.message({"type": "audio_output", "id": message.id, "index": index, "data": data})

    def expression(self, message: Message, scores: Mapping[str, float]) -> None:
        """How something sounded: scores of any names. EVI's own go from about 0 to 1."""
        type_ = "assistant_prosody" if message.speaker == "assistant" else "user_prosody"
        self.message({"type": type_, "id": message.id, "models": inference(scores)})

    def chat_metadata(self, **fields: Any) -> None:
        """Says more of the chat. Its ids, source and supported commands go out by themselves."""
        ids = {"chat_id": self.chat_id, **given(chat_group_id=self.chat_group_id)}
        self.message({**fields, "type": "chat_metadata", **ids})

    def session_settings(self, settings: Mapping[str, Any]) -> None:
        """The settings have changed. A key of a language model is not shown."""
        hidden = {"language_model_api_key": "[redacted]"} if settings.get("language_model_api_key") else {}
        self.message({**settings, **hidden, "type": "session_settings"})

    def error(self, code: str, message: str, *, slug: str | None = None) -> None:
        """Something went wrong in the bot, in a sentence for people."""
        self.message({"type": "error", "code": code, "slug": slug or code, "message": cut(message)})


def given(**fields: str | None) -> dict[str, str]:
    """The fields that are there."""
    return {name: value for name, value in fields.items() if value is not None}
