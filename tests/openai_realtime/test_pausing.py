"""A pause on a service that has none: emulated, with its limits told and watched."""

from typing import Any

from tests.openai_realtime.play import Play


def detection(play: Play) -> dict[str, Any]:
    found: dict[str, Any] = play.call.session["audio"]["input"]["turn_detection"]
    return found


def test_a_paused_assistant_listens_and_says_nothing() -> None:
    """As EVI's pause: what the caller says is still told."""
    play = Play("support")
    play.wait(8)  # the caller speaks
    before = len(play.of("assistant_message"))
    ticket = play.command("pause_assistant_message")
    assert ticket.outcome == "done" and detection(play)["create_response"] is False
    [result] = play.of("command_result")
    assert result["command"] == "pause_assistant_message" and "emulated" in result["note"]
    play.wait(25)
    assert len(play.of("assistant_message")) == before
    assert "coffee machine" in str(play.of("user_message"))


def test_a_resume_answers_what_was_said_meanwhile() -> None:
    """Once, and the turn detection is as it was."""
    play = Play("support")
    play.wait(8)
    kept = dict(detection(play))
    play.command("pause_assistant_message")
    play.wait(5)
    count = len(play.of("assistant_message"))
    assert play.command("resume_assistant_message").outcome == "done"
    assert {k: v for k, v in detection(play).items() if v is not None} == {
        k: v for k, v in kept.items() if v is not None
    }
    play.wait(4)
    assert len(play.of("assistant_message")) > count
    assert len([event for event in play.sent if event["type"] == "response.create"]) == 1


def test_what_is_being_said_is_cut_by_a_pause_and_is_no_interruption_of_the_caller() -> None:
    """Nobody has interrupted but the supervisor."""
    play = Play("support")
    play.wait(2.5)  # the greeting is heard
    play.command("pause_assistant_message")
    play.wait(1)
    assert not play.of("user_interruption")
    [end] = play.of("assistant_end")
    assert end["heard"] == "part"


def test_the_transcription_of_the_session_survives_a_pause() -> None:
    """Whether nested objects merge is not documented: this simulator replaces them."""
    play = Play("support")
    play.command("pause_assistant_message")
    assert play.call.session["audio"]["input"]["transcription"] == {"model": "gpt-4o-mini-transcribe"}
    assert play.call.session["audio"]["output"]["voice"] == "marin"


def test_what_another_client_asks_for_during_a_pause_is_cancelled_and_said() -> None:
    """The page can still ask for answers; a pause that somebody broke must not look whole."""
    play = Play()
    play.command("pause_assistant_message")
    play.foreign("response.create")
    play.wait(5)
    assert not play.of("assistant_message")
    [warning] = play.of("error")
    assert warning["slug"] == "pause_broken"


def test_an_answer_outside_of_the_conversation_is_nobodys_business() -> None:
    """It is not heard."""
    play = Play()
    play.command("pause_assistant_message")
    play.foreign("response.create", response={"conversation": "none", "output_modalities": ["text"]})
    play.wait(5)
    assert not play.of("error")


def test_a_line_of_the_supervisor_is_spoken_during_a_pause() -> None:
    """As on EVI, where a pause holds back only what the model makes."""
    play = Play()
    play.command("pause_assistant_message")
    play.command("assistant_input", text="Please hold on.")
    play.wait(5)
    assert play.of("assistant_message")[0]["message"]["content"] == "Please hold on."


def test_typed_words_and_tool_answers_wait_for_the_resume() -> None:
    """They are in the conversation, and answered once it goes on."""
    play = Play()
    play.command("pause_assistant_message")
    assert play.command("user_input", text="Hello?").outcome == "done"
    play.wait(5)
    assert not play.of("assistant_message")
    play.command("resume_assistant_message")
    play.wait(5)
    assert len(play.of("assistant_message")) == 1


def test_a_pause_that_another_client_undoes_is_put_back() -> None:
    """Theirs is what a resume brings back."""
    play = Play()
    play.command("pause_assistant_message")
    theirs = {"type": "semantic_vad", "eagerness": "low", "create_response": True, "interrupt_response": True}
    audio = {"input": {**play.call.session["audio"]["input"], "turn_detection": theirs}}
    audio["input"].pop("format")
    play.foreign("session.update", session={"type": "realtime", "audio": audio})
    assert detection(play) == {**theirs, "create_response": False}
    play.command("resume_assistant_message")
    assert detection(play) == theirs


def test_a_pause_against_a_client_that_does_not_give_up_ends_the_quarrel() -> None:
    """Two that set the same field in turn would do it for ever."""
    play = Play()
    play.command("pause_assistant_message")
    for _ in range(20):
        audio = {"input": {**play.call.session["audio"]["input"]}}
        audio["input"]["turn_detection"] = {**detection(play), "create_response": True}
        audio["input"].pop("format")
        play.foreign("session.update", session={"type": "realtime", "audio": audio})
    assert len([event for event in play.sent if event["type"] == "session.update"]) == 6


def test_where_a_client_decides_on_turns_the_limits_say_so() -> None:
    """With `turn_detection: null` there is nothing to switch off."""
    play = Play(connect=False)
    play.call.session["audio"]["input"]["turn_detection"] = None
    play.connect()
    assert play.command("pause_assistant_message").outcome == "done"
    assert "a client decides" in play.of("command_result")[0]["note"]
    play.foreign("response.create")
    play.wait(3)
    assert play.of("error")[0]["slug"] == "pause_broken"


def test_a_pause_holds_through_a_reconnect() -> None:
    """The caller must not be answered because a network broke."""
    play = Play("support")
    play.command("pause_assistant_message")
    play.cut()
    play.wait(1)
    play.connect()
    assert detection(play)["create_response"] is False
    play.wait(20)
    assert not play.of("assistant_message")
    assert play.command("resume_assistant_message").outcome == "done"
    assert detection(play)["create_response"] is True


def test_a_resume_without_a_pause_changes_nothing() -> None:
    """Another supervisor may have done it."""
    play = Play()
    assert play.command("resume_assistant_message").outcome == "done"
    assert not play.sent


def test_a_resume_answers_the_caller_also_after_a_line_and_a_broken_pause() -> None:
    """Neither of them was an answer."""
    play = Play("support")
    play.wait(6)
    play.command("pause_assistant_message")
    play.wait(8)  # the caller has spoken
    assert "coffee machine" in str(play.of("user_message"))
    play.command("assistant_input", text="One moment.")
    play.foreign("response.create")
    play.wait(3)
    play.command("resume_assistant_message")
    play.wait(3)
    assert len([event for event in play.sent if event["type"] == "response.create"]) == 2
    assert "order number" in str(play.of("assistant_message")[-1])
