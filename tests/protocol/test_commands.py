"""Commands: what leaves is what EVI documents, and what it would not understand never leaves."""

import json
from typing import Any

import pytest

from evi_mcp.errors import InvalidCommand
from evi_mcp.protocol import commands


@pytest.mark.parametrize(
    ("command", "frame"),
    [
        (commands.UserInput.of(text="hi"), {"type": "user_input", "text": "hi"}),
        (commands.AssistantInput.of(text="hi"), {"type": "assistant_input", "text": "hi"}),
        (commands.PauseAssistantMessage(), {"type": "pause_assistant_message"}),
        (commands.ResumeAssistantMessage(), {"type": "resume_assistant_message"}),
        (
            commands.ToolResponse.of(tool_call_id="c", content="", tool_name="n"),
            {"type": "tool_response", "tool_call_id": "c", "content": "", "tool_name": "n"},
        ),
        (
            commands.ToolError.of(tool_call_id="c", error="e", level="warn"),
            {"type": "tool_error", "tool_call_id": "c", "error": "e", "level": "warn"},
        ),
        (commands.SessionSettings.of(context=None), {"type": "session_settings", "context": None}),
        (
            commands.SessionSettings.of(
                system_prompt="p",
                context={"text": "c", "type": "persistent"},
                variables={"tier": 2, "vip": False, "name": "Ines"},
                voice_id="v",
                tools=[{"name": "t", "parameters": "{}"}],
                builtin_tools=[{"name": "web_search"}],
                language_model_api_key="sk-1",
                metadata={"a": [1]},
                audio={"sample_rate": 48000, "channels": 1},
                custom_session_id="s",
            ),
            {
                "type": "session_settings",
                "custom_session_id": "s",
                "system_prompt": "p",
                "context": {"text": "c", "type": "persistent"},
                "variables": {"tier": 2, "vip": False, "name": "Ines"},
                "voice_id": "v",
                "tools": [{"name": "t", "parameters": "{}"}],
                "builtin_tools": [{"name": "web_search"}],
                "language_model_api_key": "sk-1",
                "metadata": {"a": [1]},
                "audio": {"sample_rate": 48000, "channels": 1},
            },
        ),
    ],
    ids=lambda value: value.get("type") if isinstance(value, dict) else "",
)
def test_a_frame_holds_what_was_set_and_nothing_else(command: commands.Command, frame: dict[str, Any]) -> None:
    """Hume: omit optional fields rather than sending null, which can mean something (`context: null` clears)."""
    assert json.loads(command.frame()) == frame


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: commands.UserInput.of(text=""), "user_input was not sent.*text: must not be empty"),
        (lambda: commands.UserInput.of(), "text: is required"),
        (lambda: commands.UserInput.of(text="x", volume=3), "volume: is not a field of this message"),
        (lambda: commands.ToolResponse.of(tool_call_id="", content="x"), "tool_call_id: must not be empty"),
        (lambda: commands.SessionSettings.of(builtin_tools=[{"name": "fly"}]), "builtin_tools.0.name"),
        (lambda: commands.SessionSettings.of(variables={"a": [1]}), "variables.a"),
        (lambda: commands.UserInput.of(text="\ud83d").frame(), "not valid Unicode|text"),
        (lambda: commands.UserInput.of(text="x" * 2**24).frame(), "EVI accepts 16777216"),
    ],
)
def test_what_evi_would_not_understand_is_refused_with_a_sentence(make: Any, said: str) -> None:
    """Ten identical errors make EVI close the connection: a mistake must not reach it."""
    with pytest.raises(InvalidCommand, match=said):
        make()


def test_audio_cannot_be_sent_on_the_control_plane() -> None:
    """Hume: `audio_input` belongs to the chat's own socket and is not in the union of the control plane."""
    with pytest.raises(ValueError, match="audio_input"):
        commands.publish_adapter.validate_python({"type": "audio_input", "data": "AAAA"})


def test_a_refusal_and_a_repr_repeat_no_secret() -> None:
    """A key may stand in the very field that is wrong."""
    with pytest.raises(InvalidCommand) as caught:
        commands.SessionSettings.of(language_model_api_key=["sk-1"])
    assert "sk-1" not in str(caught.value)
    assert "sk-1" not in repr(commands.SessionSettings.of(language_model_api_key="sk-1"))
