"""Frames as EVI sends them, for tests; shapes as in Hume's reference of the control plane."""

import base64
import io
import json
import wave
from typing import Any

SCORES = {"Anger": 0.21, "Disappointment": 0.38, "Calmness": 0.02, "Interest": 0.3}


def frame(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields})


def metadata(chat_id: str = "chat-1", request_id: str = "r-1", **hubs: Any) -> str:
    return frame("chat_metadata", chat_id=chat_id, chat_group_id="group-1", request_id=request_id, **hubs)


def user(text: str, begin: int = 0, *, end: int | None = None, interim: bool = False, scores: Any = None) -> str:
    return frame(
        "user_message",
        message={"role": "user", "content": text},
        models={"prosody": {"scores": scores if scores is not None else SCORES}},
        time={"begin": begin, "end": begin + 900 if end is None else end},
        from_text=False,
        interim=interim,
    )


def typed(text: str, at: int = 0) -> str:
    return frame(
        "user_message",
        message={"role": "user", "content": text},
        models={},
        time={"begin": at, "end": at},
        from_text=True,
        interim=False,
    )


def assistant(text: str, id: str | None = "m-1", *, from_text: bool = False, quick: bool = False) -> str:
    return frame(
        "assistant_message",
        id=id,
        message={"role": "assistant", "content": text},
        models={},
        from_text=from_text,
        is_quick_response=quick,
    )


def prosody(id: str = "m-1", **scores: float) -> str:
    return frame("assistant_prosody", id=id, models={"prosody": {"scores": scores or {"Sympathy": 0.44}}})


def audio(id: str = "m-1", index: int = 0, data: str = "UklGRiQAAABXQVZF") -> str:
    return frame("audio_output", id=id, index=index, data=data)


def wav(pcm: bytes, *, rate: int = 48_000, channels: int = 1, width: int = 2) -> str:
    """A chunk of EVI's voice as it stands in `data`, made by the standard library."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setparams((channels, width, rate, 0, "NONE", ""))
        out.writeframes(pcm)
    return base64.b64encode(buffer.getvalue()).decode()


def end() -> str:
    return frame("assistant_end")


def interruption(time: int = 1762430123) -> str:
    return frame("user_interruption", time=time)


def tool_call(
    tool_call_id: str = "call_1",
    name: str = "parcel_status",
    parameters: str = '{"number":"LY-4471"}',
    *,
    response_required: bool = True,
    tool_type: str = "function",
) -> str:
    return frame(
        "tool_call",
        tool_call_id=tool_call_id,
        name=name,
        parameters=parameters,
        response_required=response_required,
        tool_type=tool_type,
    )


def tool_response(tool_call_id: str = "call_1", content: str = "ok") -> str:
    return frame("tool_response", tool_call_id=tool_call_id, content=content, tool_type="function")


def tool_error(tool_call_id: str = "call_1", error: str = "late") -> str:
    return frame("tool_error", tool_call_id=tool_call_id, error=error, level="warn")


def error(code: str = "E0100", slug: str = "bad", message: str = "not good", **extra: Any) -> str:
    return frame("error", code=code, slug=slug, message=message, **extra)


def settings(**fields: Any) -> str:
    return frame("session_settings", **fields)
