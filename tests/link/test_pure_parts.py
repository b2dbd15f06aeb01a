"""The parts of the link that need no bot: whispers, prompts, the times of speech, commands as they come."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.link import (
    AssistantInput,
    Command,
    Context,
    EndChat,
    PauseAssistantMessage,
    Refused,
    ResumeAssistantMessage,
    SessionSettings,
    ToolError,
    ToolResponse,
    TransferChat,
    UserInput,
)
from evi_mcp.link.commands import command_of
from evi_mcp.link.connecting import FIRST_DELAY_S, LAST_DELAY_S, backoff
from evi_mcp.link.speech import Speech
from evi_mcp.link.whispers import Prompt, Whisper

BRIEF, ANGRY = Context("be brief"), Context("he is angry", persistent=True)


def test_a_temporary_context_holds_for_the_next_user_message_only() -> None:
    """EVI's rule; a message may be answered several times, once for each tool that was called on the way."""
    whisper = Whisper()
    whisper.set(BRIEF, newest=3)
    assert whisper.text_for(3) is None  # the bot speaks on; the user has said nothing new
    assert [whisper.text_for(4), whisper.text_for(4)] == ["Context: be brief"] * 2
    assert [whisper.text_for(5), whisper.text_for(4)] == [None, None]


def test_a_temporary_context_may_be_set_before_anybody_has_spoken() -> None:
    whisper = Whisper()
    whisper.set(BRIEF, newest=0)
    assert [whisper.text_for(0), whisper.text_for(1), whisper.text_for(2)] == [None, "Context: be brief", None]


def test_a_persistent_context_holds_until_it_is_replaced_or_cleared() -> None:
    """EVI's rule; setting it is silent, and it holds at once."""
    whisper = Whisper()
    whisper.set(ANGRY, newest=1)
    assert {whisper.text_for(number) for number in (1, 2, 3)} == {"Context: he is angry"}
    whisper.set(BRIEF, newest=3)
    assert [whisper.text_for(4), whisper.text_for(5)] == ["Context: be brief", None]
    whisper.set(ANGRY, newest=5)
    whisper.set(None, newest=5)
    assert whisper.text_for(6) is None


def test_variables_fill_the_prompt_that_was_sent_or_the_bots_own() -> None:
    """They keep their values, as EVI's do; what has none stays as it stands."""
    prompt = Prompt()
    assert prompt.change(None, {"name": "Ines"}, "Help {{ name }}, {{tier}}.") == "Help Ines, {{tier}}."
    assert prompt.change(None, {"tier": 2}, "ignored") == "Help Ines, 2."
    assert prompt.change("{{name}}: {{vip}}", {"vip": True}, "ignored") == "Ines: true"
    with pytest.raises(Refused, match=r"no \{\{variable\}\}"):
        prompt.change("Nothing to fill.", {"name": "Ada"}, "ignored")
    assert prompt.change(None, None, "ignored") == "Ines: true"


def test_a_context_can_stand_at_the_end_of_the_prompt() -> None:
    """For a model that hears and speaks by itself; it does not grow with each change."""
    prompt = Prompt()
    prompt.stand(ANGRY)
    assert prompt.change(None, None, "Help.") == "Help.\n\nContext: he is angry"
    assert prompt.change(None, None, "Help.\n\nContext: he is angry") == "Help.\n\nContext: he is angry"
    prompt.stand(None)
    assert prompt.change(None, None, "whatever") == "Help."


def test_a_transcript_lies_where_the_voice_was() -> None:
    """It comes later than the voice."""
    speech = Speech()
    speech.begin(1000)
    speech.begin(1100)  # told again, by another detector
    assert speech.interval(1500, is_final=False) == (1000, 1500)
    speech.end(1900)
    assert speech.interval(2400, is_final=True) == (1000, 1900)


def test_a_transcript_may_come_before_the_news_that_somebody_speaks() -> None:
    """Where a transcript is what says so; the news is not the beginning of the next utterance."""
    speech = Speech()
    assert speech.interval(1000, is_final=True) == (1000, 1000)
    speech.begin(1005)
    speech.end(1200)
    assert speech.interval(9000, is_final=True) == (9000, 9000)


@given(st.lists(st.tuples(st.sampled_from(["begin", "end", "interim", "final"]), st.integers(0, 500)), max_size=40))
def test_final_transcripts_never_share_a_time(steps: list[tuple[str, int]]) -> None:
    """Supervisors know a spoken message by its text and time: two of "Yes." must differ."""
    speech, now, ends = Speech(), 1, []
    for step, passed in steps:
        now += passed
        match step:
            case "begin":
                speech.begin(now)
            case "end":
                speech.end(now)
            case _:
                begin, end = speech.interval(now, is_final=step == "final")
                assert 0 < begin <= end
                if step == "final":
                    ends.append(end)
    assert ends == sorted(set(ends))


@pytest.mark.parametrize(
    ("message", "command"),
    [
        ({"type": "user_input", "text": "a"}, UserInput("a")),
        ({"type": "assistant_input", "text": "a", "custom_session_id": "x"}, AssistantInput("a")),
        ({"type": "tool_response", "tool_call_id": "t", "content": ""}, ToolResponse("t", "")),
        ({"type": "tool_error", "tool_call_id": "t", "error": "e"}, ToolError("t", "e")),
        (
            {"type": "tool_error", "tool_call_id": "t", "content": "c", "code": "x"},
            ToolError("t", "the tool failed", "c", "x"),
        ),
        ({"type": "pause_assistant_message"}, PauseAssistantMessage()),
        ({"type": "resume_assistant_message"}, ResumeAssistantMessage()),
        ({"type": "end_chat", "text": "Bye."}, EndChat("Bye.")),
        ({"type": "transfer_chat", "target_uri": "tel:+33"}, TransferChat("tel:+33")),
    ],
)
def test_commands_are_read(message: dict[str, Any], command: Command) -> None:
    """Each of EVI's messages, and the two that EVI has not."""
    assert command_of(message) == command


def test_settings_say_what_was_sent() -> None:
    """A context that is cleared is another thing than one that was not mentioned."""
    settings = command_of({"type": "session_settings", "context": {"text": "x", "type": "persistent"}, "voice_id": "v"})
    assert isinstance(settings, SessionSettings)
    assert settings.context == Context("x", persistent=True) and settings.changed == {"context", "voice_id"}
    cleared = command_of({"type": "session_settings", "context": None})
    assert isinstance(cleared, SessionSettings) and cleared.context is None and cleared.changed == {"context"}


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (7, "an object with a type"),
        ({"text": "a"}, "an object with a type"),
        ({"type": "audio_input", "data": ""}, "knows no command"),
        ({"type": "user_input", "text": "  "}, "`text` must be text and not empty"),
        ({"type": "tool_response", "tool_call_id": "t", "content": {"a": 1}}, "`content` must be text"),
        ({"type": "session_settings", "context": {"text": "x", "type": "editable"}}, "temporary` or `persistent"),
        ({"type": "session_settings", "context": {"text": ""}}, "`text` must be text"),
        ({"type": "session_settings", "variables": [1]}, "`variables` must be an object"),
        ({"type": "session_settings", "tools": {}}, "`tools` must be a list of objects"),
    ],
)
def test_what_is_no_command_is_refused_with_the_field(message: Any, why: str) -> None:
    """The reason goes to whoever sent it; the value may be a secret and does not."""
    with pytest.raises(Refused, match=why.replace("{", "\\{")):
        command_of(message)


def test_a_hub_that_is_away_is_asked_ever_more_slowly() -> None:
    """Many bots that were dropped together must not come back together."""
    delays = backoff()
    first = [next(delays) for _ in range(40)]
    assert all(FIRST_DELAY_S / 2 <= delay <= LAST_DELAY_S for delay in first)
    assert min(first[10:]) >= LAST_DELAY_S / 2 and len(set(first[10:])) > 1
