"""What a supervisor reads of a call: the service's events as EVI's messages."""

from typing import Any

import pytest
from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from pydantic import TypeAdapter

from evi_mcp.openai_realtime.timeline import LOST_AFTER_S, PATIENCE_S
from evi_mcp.openai_realtime.translator import Translator
from tests.openai_realtime.play import AT_MS, Play, turns

SERVER: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
CLIENT: TypeAdapter[Any] = TypeAdapter(RealtimeClientEvent)
FOUND = '{"status": "in transit", "eta": "Friday"}'


def supervised(script: str, **options: Any) -> Play:
    """A call whose tool calls a supervisor answers, played to its end."""
    play = Play(script, **options)
    while play.call.ending is None:
        for message in play.wait(1.0):
            if message["type"] == "tool_call" and message["response_required"]:
                play.command("tool_response", tool_call_id=message["tool_call_id"], content=FOUND)
    return play


@pytest.mark.parametrize("script", ["support", "booking", "quiet"])
def test_the_simulated_service_speaks_the_official_types(script: str) -> None:
    """A simulator that says what the service would not proves nothing; nor do client events that it would refuse."""
    play = supervised(script)
    for frame in play.frames:
        SERVER.validate_python(frame)
    for event in play.sent:
        CLIENT.validate_python(event)
    assert len(play.frames) > 50


def test_a_call_is_told_in_evis_words() -> None:
    """Everything above the hub knows EVI's messages alone."""
    play = supervised("support")
    said = turns(play.messages)
    assert said[0] == ("assistant", "Hello, this is parcel support. How can I help you today?")
    assert said[1][0] == "user" and "coffee machine" in said[1][1]
    assert ("tool_call", 'look_up_order {"order_number": "LY-4471"}') in said
    assert ("tool_response", FOUND) in said
    assert any(who == "assistant" and "the order is in transit" in words for who, words in said)
    [settings] = play.of("session_settings")
    assert settings["tools"][0]["name"] == "look_up_order" and settings["voice_id"] == "marin"
    assert play.messages[0]["type"] == "history_truncated" and play.messages[0]["reason"] == "before_attach"


def test_words_stand_where_they_were_spoken_although_their_text_comes_after_the_answer() -> None:
    """Text that came where it arrived would make the assistant answer before it was asked."""
    play = supervised("support", transcript_after_s=2.5)
    assert turns(play.messages) == turns(supervised("support").messages)


def test_text_that_takes_too_long_holds_nothing_back_and_is_marked() -> None:
    """A tool call has to be answered in time; words that come later say that they are late, and when they were said."""
    play = supervised("support", transcript_after_s=PATIENCE_S + 6)
    late = [message for message in play.of("user_message") if message.get("late")]
    assert late and all(not message["interim"] and message["time"]["end"] for message in late)
    said = [message["message"]["content"] for message in play.of("user_message") if not message["interim"]]
    assert len(said) == len(set(said)) == 7


def test_text_that_never_comes_is_said_to_be_lost() -> None:
    """A turn without words is still a turn: the assistant has answered to it."""
    play = Play(connect=True)
    for kind in ("committed",):
        play.translator.receive({"type": f"input_audio_buffer.{kind}", "item_id": "u1"}, play.now, AT_MS)
    play.wait(LOST_AFTER_S + 1)
    [message] = play.of("user_message")
    assert message["transcript"] == "lost" and message["message"]["content"] == "[speech, its text did not come]"


def test_what_still_waits_when_the_call_ends_is_told() -> None:
    """The last words of a call are worth the most, and their text comes when nobody is there any more."""
    play = Play("support", transcript_after_s=1e6)
    play.wait(12.6)  # the caller has spoken, and is answered
    assert "order number" not in str(play.messages)
    play.translator.finish()
    assert [who for who, _ in turns(play.messages)] == ["assistant", "user", "assistant"]
    assert play.of("user_message")[-1]["transcript"] == "lost" and "order number" in str(play.messages)


def test_speech_without_transcription_is_shown_and_once_said_what_to_change() -> None:
    """It is off by default in this service: silence would look like a caller who says nothing."""
    play = supervised("support", transcribes=False)
    spoken = play.of("user_message")
    assert {message["message"]["content"] for message in spoken} == {"[speech, not transcribed]"}
    assert len(spoken) == 7 and all(message["time"]["end"] for message in spoken)
    [warning] = play.of("error")
    assert warning["slug"] == "no_transcription" and "audio.input.transcription" in warning["message"]


def test_what_the_caller_never_heard_is_marked() -> None:
    """Text of a line that was cut stands in the record although nobody has heard its end."""
    play = supervised("support")
    [interruption] = play.of("user_interruption")
    [cut] = [m for m in play.of("assistant_message") if m["id"] in interruption["message_ids"]]
    assert "five to seven working days" in cut["message"]["content"]
    assert interruption["heard"] == "part" and 5500 < interruption["heard_ms"] < 7500


def test_an_interruption_before_the_first_sound_says_that_nothing_was_heard() -> None:
    """A response that is cancelled while it is made has no audio at all."""
    play = Play()
    item = {"id": "a1", "type": "message", "role": "assistant", "status": "incomplete", "content": []}
    told: list[dict[str, Any]] = [
        {"type": "response.created", "response": {"id": "r1", "conversation_id": "c"}},
        {"type": "response.output_item.added", "response_id": "r1", "item": {**item, "status": "in_progress"}},
        {"type": "response.output_audio_transcript.delta", "response_id": "r1", "item_id": "a1", "delta": "I wou"},
        {"type": "response.output_item.done", "response_id": "r1", "item": item},
        {
            "type": "response.done",
            "response": {
                "id": "r1",
                "status": "cancelled",
                "status_details": {"type": "cancelled", "reason": "turn_detected"},
                "output": [item],
            },
        },
    ]
    for event in told:
        play.translator.receive(event, play.now, AT_MS)
    assert [m["message"]["content"] for m in play.of("assistant_message")] == ["I wou"]
    [interruption] = play.of("user_interruption")
    assert interruption["heard"] == "none"


def test_keys_that_the_caller_presses_are_told() -> None:
    """Somebody who types an order number on the phone's keys says something."""
    play = Play()
    play.translator.receive(
        {"type": "input_audio_buffer.dtmf_event_received", "event": "5", "received_at": 1}, play.now, AT_MS
    )
    assert play.of("dtmf") == [{"type": "dtmf", "key": "5", "message": "The caller pressed 5."}]


def test_a_response_outside_of_the_conversation_is_not_told() -> None:
    """Applications classify calls with such responses; nobody hears them."""
    play = Play()
    play.foreign("response.create", response={"conversation": "none", "output_modalities": ["text"]})
    play.wait(5)
    assert not play.of("assistant_message", "assistant_end")


def test_another_clients_answer_is_told() -> None:
    """Every socket of a call sees every answer, which EVI's does not."""
    play = Play("support")
    call = None
    while call is None:
        call = next((m for m in play.wait(1.0) if m["type"] == "tool_call"), None)
    item = {"type": "function_call_output", "call_id": call["tool_call_id"], "output": FOUND}
    play.foreign("conversation.item.create", item=item)
    [answer] = play.of("tool_response")
    assert (answer["tool_call_id"], answer["content"]) == (call["tool_call_id"], FOUND)


def test_secrets_of_an_mcp_server_are_not_told() -> None:
    """The state of a session can hold credentials of its tools."""
    messages: list[dict[str, Any]] = []
    translator = Translator(messages.append, "test")
    tool = {"type": "mcp", "server_label": "crm", "authorization": "a-secret", "headers": {"X": "a-secret"}}
    translator.receive({"type": "session.updated", "session": {"type": "realtime", "tools": [tool]}}, 0, AT_MS)
    assert messages == [{"type": "session_settings", "tools": [{"type": "mcp", "name": "crm"}]}]
