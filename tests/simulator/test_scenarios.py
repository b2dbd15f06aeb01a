"""The scripts, as an observer receives them."""

import base64
import io
import json
import wave

import pytest
from pydantic import ValidationError

from evi_mcp.protocol.codec import decode
from evi_mcp.protocol.messages import ProtocolFault, UnknownMessage, UserMessage
from evi_mcp.protocol.prosody import SCORE_NAMES
from evi_mcp.simulator.scenario import Scenario, scenarios
from tests.simulator.play import Play

SCRIPTS = tuple(scenarios())


def test_there_are_four_scripted_calls() -> None:
    """One that only a supervisor can solve, one with tools, one that falls silent, an angry one: what a supervisor has
    to tell apart."""
    assert SCRIPTS == ("billing", "booking", "quiet", "support")


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_frame_is_one_that_the_protocol_knows(script: str) -> None:
    """The simulator says only what Hume documents, exactly in its shape."""
    play = Play(script, tool_timeout_s=1)
    play.to_the_end()
    for event in play.events[1:]:  # the first is the hub's, with fields of its own
        message = decode(json.dumps(event))
        assert not isinstance(message, UnknownMessage | ProtocolFault)
        assert not message.model_extra, event


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_call_lasts_a_minute_or_two(script: str) -> None:
    """Our choice: long enough to attach and act, short enough to watch."""
    play = Play(script, tool_timeout_s=5)
    play.to_the_end()
    assert 60 <= play.now <= 120


@pytest.mark.parametrize("script", SCRIPTS)
def test_spoken_words_have_all_48_scores(script: str) -> None:
    """EVI's schema requires all of them; a few stand out and the rest is low."""
    play = Play(script, tool_timeout_s=1)
    play.to_the_end()
    spoken = [event for event in play.of("user_message") if not event["interim"]] + play.of("assistant_prosody")
    assert spoken
    for event in spoken:
        scores = event["models"]["prosody"]["scores"]
        assert tuple(scores) == SCORE_NAMES
        assert all(0 <= score <= 1 for score in scores.values())
        assert sum(score > 0.1 for score in scores.values()) <= 6


def test_the_support_call_gets_angrier() -> None:
    """It is what a supervisor has to notice."""
    play = Play("support", tool_timeout_s=1)
    play.to_the_end()
    turns = [event["models"]["prosody"]["scores"] for event in play.of("user_message") if not event["interim"]]
    for name in ("Anger", "Disappointment", "Contempt"):
        rising = [scores[name] for scores in turns[:6]]
        assert rising == sorted(rising)
    assert turns[0]["Anger"] < 0.2 < 0.75 < turns[5]["Anger"]


def test_the_support_call_has_an_interruption_without_an_assistant_end() -> None:
    """What follows a cut turn is undocumented; here it has no end, so that readers must not rely on one."""
    play = Play("support", tool_timeout_s=1)
    play.until("user_interruption")
    before = [event["type"] for event in play.events if event["type"] != "assistant_prosody"]
    assert before[-2] == "audio_output"
    play.until("user_message", lambda event: not event["interim"])
    assert "I want my money back" in play.events[-1]["message"]["content"]
    said = play.spoken()
    assert not any("five to seven" in line for line in said), "the rest of EVI's turn was dropped"


def test_the_booking_asks_for_two_functions_one_after_the_other() -> None:
    """EVI makes no parallel calls (Hume's tool guide)."""
    play = Play("booking")
    for name, answer, heard in (
        ("check_availability", {"times": ["19:00", "19:30", 21]}, "19:00, 19:30 or 21"),
        ("book_table", {"confirmation": "OT-77"}, "OT-77"),
    ):
        call = play.until("tool_call")
        assert (call["name"], call["response_required"], call["tool_type"]) == (name, True, "function")
        assert isinstance(json.loads(call["parameters"]), dict)
        play.send("tool_response", tool_call_id=call["tool_call_id"], content=json.dumps(answer))
        assert heard in play.until("assistant_message")["message"]["content"]
    play.to_the_end()
    assert play.of("tool_call")[-1]["name"] == "hang_up"
    assert play.call.ending is not None


def test_the_quiet_call_ends_by_inactivity() -> None:
    """The on-inactivity message, 15 s of grace, `error` E0714 and close 1000 (Hume's guide, its proxy example)."""
    play = Play("quiet")
    play.until("assistant_message", lambda event: event["message"]["content"] == "Are you still there?")
    asked_at = play.now
    error = play.until("error")
    assert (error["code"], error["slug"]) == ("E0714", "inactivity_timeout")
    assert play.now - asked_at > 15
    assert play.call.ending is not None and play.call.ending.status == "INACTIVITY_TIMEOUT"


def test_the_quiet_call_searches_the_web_by_itself() -> None:
    """A built-in tool: announced, answered by the server, and nobody has to respond."""
    play = Play("quiet")
    call = play.until("tool_call")
    response = play.until("tool_response")
    assert (call["name"], call["response_required"], call["tool_type"]) == ("web_search", False, "builtin")
    assert response["tool_call_id"] == call["tool_call_id"]
    assert json.loads(response["content"]).keys() == {"summary", "references"}


def test_words_typed_into_the_silence_keep_the_quiet_call_alive() -> None:
    """The error speaks of a user message that did not come; a typed one is one."""
    play = Play("quiet")
    play.until("assistant_message", lambda event: event["message"]["content"] == "Are you still there?")
    play.send("user_input", text="I am still here.")
    play.wait(30)
    assert play.call.ending is None
    play.to_the_end()
    assert play.call.ending is not None and play.call.ending.status == "INACTIVITY_TIMEOUT"


def test_interim_transcripts_grow_into_the_final_one() -> None:
    """Each supersedes the one before (Hume's reference); all begin where the utterance begins."""
    play = Play("support")
    final = play.until("user_message", lambda event: not event["interim"])
    interims = [event for event in play.of("user_message") if event["interim"]]
    assert len(interims) >= 2
    for interim in interims:
        assert final["message"]["content"].startswith(interim["message"]["content"])
        assert interim["time"]["begin"] == final["time"]["begin"]
        assert interim["time"]["end"] < final["time"]["end"]


def test_without_verbose_transcription_there_are_no_interim_transcripts() -> None:
    """Hume's reference of `/chat`."""
    play = Play("support", tool_timeout_s=1, verbose=False)
    play.to_the_end()
    assert not any(event["interim"] for event in play.of("user_message"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_audio_is_small_complete_wavs(script: str) -> None:
    """48 kHz, 16-bit mono (Hume's audio guide); a chunk is a file that plays by itself."""
    play = Play(script, tool_timeout_s=1)
    play.to_the_end()
    indices: dict[str, list[int]] = {}
    for event in play.of("audio_output"):
        indices.setdefault(event["id"], []).append(event["index"])
        with wave.open(io.BytesIO(base64.b64decode(event["data"], validate=True))) as sound:
            assert (sound.getframerate(), sound.getsampwidth(), sound.getnchannels()) == (48_000, 2, 1)
            assert 0.03 <= sound.getnframes() / 48_000 <= 0.1
            assert any(sound.readframes(sound.getnframes()))
    assert indices.keys() <= {event["id"] for event in play.of("assistant_message")}
    assert all(found == list(range(len(found))) for found in indices.values())


def test_the_same_seed_plays_the_same_call() -> None:
    """A bug that was seen once can be seen again."""
    first, second, other = (Play("support", seed=seed, tool_timeout_s=1).to_the_end() for seed in ("a", "a", "b"))
    assert first == second
    assert first != other


def test_speed_shortens_the_script_and_not_the_time_for_an_answer() -> None:
    """A slow agent needs its time, however fast the demonstration runs."""
    play = Play("booking", speed=100.0, tool_timeout_s=45)
    play.until("tool_call")
    assert play.now < 1
    called_at = play.now
    play.until("tool_error")
    assert play.now - called_at == pytest.approx(45)


def test_a_misspelt_expression_in_a_script_is_an_error() -> None:
    """A score that EVI does not have would be silently absent."""
    with pytest.raises(ValidationError, match="Angr"):
        Scenario.model_validate(
            {
                "name": "x",
                "config_id": "1b60e1a0-cc59-424a-8d2c-189d354db3f3",
                "exchanges": [
                    {"user": {"says": "Hi.", "expression": {"Angr": 0.5}}, "evi": [{"says": ["Hello."]}]},
                ],
                "ending": {"kind": "user_leaves"},
            }
        )


def test_the_times_of_utterances_do_not_overlap() -> None:
    """`time` is milliseconds from the start of the chat, so a transcript can be ordered by it."""
    play = Play("support", tool_timeout_s=1)
    play.to_the_end()
    messages = [decode(json.dumps(event)) for event in play.of("user_message") if not event["interim"]]
    spans = [(m.time.begin, m.time.end) for m in messages if isinstance(m, UserMessage) and m.time]
    flat = [ms for span in spans for ms in span if ms is not None]
    assert flat == sorted(flat)
