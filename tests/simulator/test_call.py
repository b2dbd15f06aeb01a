"""How a simulated chat reacts to what clients send: EVI's rules as documented, and our choices where it is silent."""

import json

import pytest

from tests.simulator.play import Play, read


def test_a_connection_starts_with_chat_metadata_of_its_own() -> None:
    """Hume's reference: the first message after a connection is made; `request_id` names the connection."""
    play = Play("support")
    others = [read(play.chat.attach())[0] for _ in range(2)]
    assert {event["type"] for event in others} == {"chat_metadata"}
    assert {event["chat_id"] for event in others} == {"chat-1"}
    assert len({event["request_id"] for event in others}) == 2


def test_a_late_connection_gets_the_whole_history_and_then_what_is_live() -> None:
    """Hume's control-plane guide: history, then live; here nothing is left out, audio and interims neither."""
    play = Play("support", tool_timeout_s=1)
    play.until("user_interruption")
    late = play.chat.attach()
    replayed = read(late)
    assert replayed[1:] == play.events[1:]
    live = play.wait(10)
    assert read(late) == live


def test_user_input_is_answered() -> None:
    """Hume's reference: taken as if the user had said it. It has no voice, so no prosody."""
    play = Play()
    play.send("user_input", text="What about my parcel?")
    message = play.until("user_message")
    assert message["from_text"] and message["models"] == {}
    assert message["time"]["begin"] == message["time"]["end"]
    play.until("assistant_end")
    assert any("What about my parcel?" in line for line in play.spoken())
    assert play.of("audio_output") and play.of("assistant_prosody")


def test_user_input_is_answered_in_the_middle_of_a_script() -> None:
    """The scripts react: EVI finishes its turn, answers, and the script goes on."""
    play = Play("support", tool_timeout_s=1)
    play.until("assistant_message")
    play.send("user_input", text="It is about order LY-1.")
    play.until("assistant_message", lambda event: "LY-1" in event["message"]["content"])
    play.to_the_end()
    assert "Thank you for your patience." in play.spoken()


def test_assistant_input_is_spoken_as_written() -> None:
    """Hume's reference: comes back as `assistant_message` with `from_text` and as audio."""
    play = Play()
    play.send("assistant_input", text="One moment, a colleague is joining us.")
    message = play.of("assistant_message")[0]
    assert message["from_text"] and message["message"]["content"] == "One moment, a colleague is joining us."
    play.until("assistant_end")
    assert {event["id"] for event in play.of("audio_output", "assistant_prosody")} == {message["id"]}


def test_assistant_input_during_a_reply_is_out_at_once_and_the_reply_goes_on() -> None:
    """Our choice where EVI is silent: a supervisor's words do not wait, and nothing of EVI's is lost."""
    play = Play("support")
    play.until("assistant_message")
    play.send("assistant_input", text="This call is recorded.")
    assert play.of("assistant_message")[-1]["from_text"]
    play.until("assistant_end")
    assert len(play.spoken()) == 3
    assert len(play.of("assistant_end")) == 1


def test_a_pause_silences_evi_until_it_is_resumed() -> None:
    """Hume's pause guide: no new message and no tool event while paused; the user is heard on."""
    play = Play("support")
    play.until("user_message", lambda event: not event["interim"])
    play.send("pause_assistant_message")
    during = play.wait(60)
    assert {event["type"] for event in during} == {"user_message"}
    finals = [event["message"]["content"] for event in during if not event["interim"]]
    assert len(finals) >= 2, "the user's side of the script goes on"
    play.send("resume_assistant_message")
    play.until("assistant_end")
    said = play.spoken()
    assert "Oh, I am sorry to hear that." not in said, "only the last user message is answered"


def test_a_message_that_has_begun_is_sent_to_its_end_in_a_pause() -> None:
    """Hume's pause guide: what is already queued is still sent."""
    play = Play("support")
    begun = play.until("assistant_message")
    play.send("pause_assistant_message")
    rest = play.wait(3)
    assert len([event for event in rest if event["type"] == "audio_output"]) >= 3
    assert {event["id"] for event in rest} == {begun["id"]}
    play.send("resume_assistant_message")
    assert play.until("assistant_message")["message"]["content"] == "How can I help you today?"


def test_a_pause_takes_effect_before_a_tool_is_called() -> None:
    """Hume's pause guide: tool use is off while paused. Afterwards the last words are answered, tool and all."""
    play = Play("booking")
    play.until("assistant_message", lambda event: event["message"]["content"] == "Let me see what is free on Friday.")
    play.send("pause_assistant_message")
    assert not [event for event in play.wait(4) if event["type"].startswith("tool")]
    play.send("resume_assistant_message")
    assert play.until("tool_call")["name"] == "check_availability"


def test_pausing_twice_and_resuming_without_a_pause_do_no_harm() -> None:
    """Undocumented; treated as the same as once, and as nothing."""
    play = Play("support", tool_timeout_s=1)
    play.send("resume_assistant_message")
    for _ in range(2):
        play.send("pause_assistant_message")
    play.wait(5)
    play.send("resume_assistant_message")
    assert play.until("assistant_end")
    assert not play.of("error")


def test_typed_words_in_a_pause_are_answered_after_it_and_only_the_last() -> None:
    """Hume's pause guide: on resume EVI answers only to the last user message."""
    play = Play()
    play.send("pause_assistant_message")
    for text in ("first", "second", "third"):
        play.send("user_input", text=text)
    assert not [event for event in play.wait(10) if event["type"] == "assistant_message"]
    play.send("resume_assistant_message")
    play.until("assistant_end")
    assert [line for line in play.spoken() if line.startswith("You said")] == ["You said: third"]


def test_words_typed_while_a_paused_evi_finishes_its_message_are_answered_instead_of_the_rest() -> None:
    """Both rules of Hume's pause guide at once: what has begun is sent to its end, then only the last words count."""
    play = Play("support")
    begun = play.until("assistant_message")
    play.send("pause_assistant_message")
    play.send("user_input", text="Wait, please.")
    rest = [event for event in play.wait(5) if event["type"] == "audio_output"]
    assert len(play.of("audio_output")) == len(begun["message"]["content"].split()) and rest
    play.send("resume_assistant_message")
    play.until("assistant_end")
    assert "You said: Wait, please." in play.spoken() and "How can I help you today?" not in play.spoken()


def test_a_pause_before_two_typed_messages_are_answered_leaves_only_the_last() -> None:
    """Hume's pause guide: on resume EVI answers only to the last user message, whenever the others came."""
    play = Play()
    for text in ("first", "second", "third"):
        play.send("user_input", text=text)
    play.send("pause_assistant_message")
    play.wait(5)
    play.send("resume_assistant_message")
    play.wait(10)
    assert [line for line in play.spoken() if line.startswith("You said")] == ["You said: third"]


def test_the_user_moves_on_while_a_paused_evi_waits_for_a_tool() -> None:
    """Hume's tool guide: the call is dropped without an event, and a late answer is stale."""
    play = Play("support")
    call = play.until("tool_call")
    play.send("pause_assistant_message")
    during = play.wait(20)
    assert [event for event in during if event["type"] == "user_message" and not event["interim"]]
    play.send("tool_response", tool_call_id=call["tool_call_id"], content="found")
    assert "moved on" in play.of("tool_error")[0]["error"]
    play.send("resume_assistant_message")
    play.to_the_end()
    assert "found" not in " ".join(play.spoken())


def test_assistant_input_is_spoken_in_a_pause() -> None:
    """Undocumented; here it is spoken, since EVI did not generate it and a supervisor took the floor."""
    play = Play("support")
    play.send("pause_assistant_message")
    play.send("assistant_input", text="I am taking over from here.")
    play.until("assistant_end")
    assert play.spoken() == ["I am taking over from here."]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"status": "in Lyon", "eta": "tomorrow"}', "the order is in Lyon"),
        ('{"status": "in Lyon"}', '{"status": "in Lyon"}'),
        ("It left Lyon this morning.", "It left Lyon this morning."),
        ("", "nothing"),
        ('["a"]', '["a"]'),
    ],
)
def test_a_tool_answer_is_used_in_the_next_line(content: str, expected: str) -> None:
    """The scripts react: JSON by its fields, all else word for word."""
    play = Play("support")
    call = play.until("tool_call")
    play.send("tool_response", tool_call_id=call["tool_call_id"], content=content)
    play.until("assistant_end")
    assert expected in " ".join(play.spoken()[-2:])


def test_a_tool_error_gives_evi_its_content_instead() -> None:
    """Hume's reference: `content` goes to the LLM in place of a result, `error` is never heard."""
    play = Play("support")
    call = play.until("tool_call")
    play.send("tool_error", tool_call_id=call["tool_call_id"], error="HTTP 503", content="The depot is closed today.")
    play.until("assistant_end")
    assert "The depot is closed today." in play.spoken()[-1]
    assert "503" not in " ".join(play.spoken())


def test_a_tool_error_without_content_brings_the_fallback() -> None:
    """Inferred from Hume's reference: the tool's `fallback_content` is used."""
    play = Play("support")
    call = play.until("tool_call")
    play.send("tool_error", tool_call_id=call["tool_call_id"], error="HTTP 503")
    play.until("assistant_end")
    assert "does not answer at the moment" in play.spoken()[-2]


def test_an_unanswered_tool_call_ends_in_a_tool_error_and_the_fallback() -> None:
    """Hume's tool guide: late answers produce a `tool_error`, level `warn`, and the fallback is used."""
    play = Play("support", tool_timeout_s=30)
    call = play.until("tool_call")
    called_at = play.now
    error = play.until("tool_error")
    assert play.now - called_at == pytest.approx(30)
    assert (error["tool_call_id"], error["level"]) == (call["tool_call_id"], "warn")
    assert "does not answer at the moment" in play.until("assistant_message")["message"]["content"]


def test_a_late_a_second_and_a_foreign_answer_bring_a_tool_error() -> None:
    """Undocumented, a `tool_error` is plausible; what EVI says does not change."""
    play = Play("support", tool_timeout_s=5)
    call = play.until("tool_call")
    play.until("tool_error")
    play.send("tool_response", tool_call_id=call["tool_call_id"], content="too late")
    play.send("tool_response", tool_call_id="call_unknown", content="?")
    play.wait(30)
    assert [event["tool_call_id"] for event in play.of("tool_error")] == [call["tool_call_id"]] * 2 + ["call_unknown"]
    assert "too late" not in " ".join(play.spoken())

    play = Play("support")
    call = play.until("tool_call")
    for content in ("first", "second"):
        play.send("tool_response", tool_call_id=call["tool_call_id"], content=content)
    play.wait(10)
    assert "first" in " ".join(play.spoken()) and "second" not in " ".join(play.spoken())
    assert "already" in play.of("tool_error")[0]["error"]


def test_a_tool_answer_is_mirrored_to_all_but_its_sender() -> None:
    """Issue 388 of Hume's React SDK: the sender's own socket does not get it back."""
    play = Play("support")
    other = play.chat.attach()
    call = play.until("tool_call")
    read(other)
    play.send("tool_response", tool_call_id=call["tool_call_id"], content="found")
    assert not play.of("tool_response")
    assert [event["content"] for event in read(other) if event["type"] == "tool_response"] == ["found"]


def test_session_settings_are_mirrored_without_their_secret() -> None:
    """Inbound `session_settings` exist since late 2025; a key in one must not travel to every observer."""
    play = Play()
    other = play.chat.attach()
    play.send("session_settings", language_model_api_key="sk-hidden", system_prompt="Be brief.")
    (settings,) = [event for event in read(other) if event["type"] == "session_settings"]
    assert settings["system_prompt"] == "Be brief."
    assert "sk-hidden" not in "".join(entry.frame.decode() for entry in play.chat.history)
    assert not play.of("session_settings")


def test_a_temporary_context_holds_for_one_message_and_a_persistent_one_for_all() -> None:
    """Hume's reference: `temporary` is the default and for the next user message only; `null` clears."""
    play = Play()

    def knows() -> bool:
        said = len(play.spoken())
        play.send("user_input", text="Well?")
        play.until("assistant_end")
        return any("at the depot" in line for line in play.spoken()[said:])

    play.send("session_settings", context={"text": "It is at the depot."})
    assert not play.wait(5), "context causes no response"
    assert (knows(), knows()) == (True, False)
    play.send("session_settings", context={"text": "It is at the depot.", "type": "persistent"})
    play.send("session_settings", system_prompt="Be kind.")
    assert (knows(), knows()) == (True, True)
    play.send("session_settings", context=None)
    assert not knows()


def test_a_function_given_by_session_settings_is_called_when_the_user_names_it() -> None:
    """Typed chats can show a tool call too: EVI calls what its settings offer."""
    play = Play()
    tool = {"type": "function", "name": "parcel_status", "parameters": "{}", "fallback_content": "It is down."}
    play.send("session_settings", tools=[tool])
    play.send("user_input", text="Please check the parcel status.")
    call = play.until("tool_call")
    assert call["name"] == "parcel_status"
    play.send("tool_response", tool_call_id=call["tool_call_id"], content="in Lyon")
    play.until("assistant_end")
    assert play.spoken()[-1] == "This is what I found: in Lyon"


def test_audio_input_is_refused_on_the_control_plane() -> None:
    """Hume's guide: it must not be sent there. What happens if it is, is not stated; here it is an `error`."""
    play = Play()
    play.send("audio_input", data="AAAA")
    assert "own connection" in play.of("error")[0]["message"]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("not json", "E0100"),
        (b"\x00\x01", "E0100"),
        ('{"type": "user_input", "text": NaN}', "E0101"),
        ('{"type": "user_input"}', "E0101"),
        ('{"type": "user_input", "text": 3}', "E0101"),
        ('{"type": "user_input", "text": "  "}', "E0101"),
        ('{"type": "sing"}', "E0101"),
        ("{}", "E0101"),
        ("[]", "E0101"),
        ("null", "E0101"),
    ],
)
def test_a_frame_that_cannot_be_used_is_answered_with_an_error_to_its_sender_alone(
    frame: str | bytes, code: str
) -> None:
    """Codes of Hume's page on errors: E0100 is not JSON, E0101 a field that is missing or malformed."""
    play = Play()
    other = play.chat.attach()
    play.raw(frame)
    assert [event["code"] for event in play.of("error")] == [code]
    assert len(read(other)) == 1


def test_ten_identical_errors_close_the_connection_and_not_the_chat() -> None:
    """Hume's page on errors; which close code is not stated, 1008 is the standard's for a policy."""
    play = Play()
    for _ in range(9):
        play.raw("{")
    assert play.consumer.close is None
    play.raw("{")
    assert play.consumer.close is not None and play.consumer.close.code == 1008
    assert play.call.ending is None


def test_an_error_does_not_show_what_was_sent() -> None:
    """It could be a key."""
    play = Play()
    play.send("session_settings", language_model_api_key=["sk-hidden"])
    assert "sk-hidden" not in json.dumps(play.of("error"))


def test_after_the_end_nothing_happens() -> None:
    """Hume documents 1000 for a user who left."""
    play = Play()
    play.call.leave(1.0)
    assert play.call.ending is not None and play.call.ending.status == "USER_ENDED"
    play.send("user_input", text="Anyone?")
    assert not play.of("user_message")


def test_a_typed_chat_ends_when_nobody_types() -> None:
    """Hume's default is 120 s without a user message; EVI's own words and a supervisor's do not count."""
    play = Play()
    play.wait(100)
    play.send("user_input", text="Hello")
    play.wait(100)
    play.send("assistant_input", text="Hello?")
    assert play.until("error")["code"] == "E0714"
    assert play.now == pytest.approx(220)


def test_every_chat_has_a_longest_duration() -> None:
    """1800 s by Hume's reference, E0715 by its proxy example."""
    play = Play(inactivity_timeout_s=None)
    assert play.until("error", most_s=2000)["code"] == "E0715"
    assert play.now == pytest.approx(1800)
    assert play.call.ending is not None and play.call.ending.status == "MAX_DURATION_TIMEOUT"


def test_time_that_passes_in_one_leap_plays_the_same_as_in_small_steps() -> None:
    """The clock only says how far to play; a machine that slept changes nothing."""
    leap, steps = Play("quiet"), Play("quiet")
    leap.call.advance(500.0)
    leap.collect()
    for number in range(5000):
        steps.call.advance(number / 10)
    steps.collect()
    assert leap.events == steps.events
