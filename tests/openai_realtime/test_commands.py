"""EVI's commands on a call: carried out once, with a proof, or refused with a reason."""

import json
from typing import Any

import pytest

from evi_mcp.openai_realtime.floor import SAY_WITHIN_S
from tests.openai_realtime.play import AT_MS, FakeTicket, Play

FOUND = '{"status": "in transit", "eta": "Friday"}'


def asked(play: Play) -> dict[str, Any]:
    """The next tool call."""
    while True:
        for message in play.wait(1.0):
            if message["type"] == "tool_call":
                return message


def created(play: Play, kind: str) -> list[dict[str, Any]]:
    return [event for event in play.sent if event["type"] == kind]


def test_typed_words_come_back_and_are_answered() -> None:
    """Proof of `user_input` is the item with the id that was chosen; then the assistant answers."""
    play = Play()
    ticket = play.command("user_input", text="Where is my parcel?")
    assert ticket.outcome == "done"
    [message] = play.of("user_message")
    assert message["from_text"] and message["message"]["content"] == "Where is my parcel?"
    play.wait(10)
    assert "Where is my parcel?" in play.of("assistant_message")[0]["message"]["content"]
    assert len(created(play, "response.create")) == 1
    assert all(len(event["event_id"]) <= 32 for event in play.sent)


def test_typed_words_during_an_answer_wait_for_its_end() -> None:
    """`response.create` does not wait by itself: it fails while a response runs."""
    play = Play()
    play.command("user_input", text="One.")
    play.wait(0.2)
    play.command("user_input", text="Two.")
    assert len(created(play, "response.create")) == 1
    play.wait(20)
    assert len(created(play, "response.create")) == 2
    assert not play.of("error")


def test_a_line_is_confirmed_only_if_it_was_said_word_for_word() -> None:
    """The service has no exact means; what it said is compared."""
    play = Play()
    ticket = play.command("assistant_input", text="One moment, please.")
    play.wait(5)
    assert ticket.outcome == "done"
    [message] = play.of("assistant_message")
    assert message["from_text"] and not message["reworded"] and message["asked_text"] == "One moment, please."
    assert not play.of("user_message")


def test_a_line_that_was_said_in_other_words_is_told_as_such() -> None:
    """A supervisor must not believe that a promise was made which was not."""
    play = Play(rewords=lambda words: f"Sure: {words}")
    play.command("assistant_input", text="Your refund is approved.")
    play.wait(5)
    [message] = play.of("assistant_message")
    assert message["reworded"] and message["message"]["content"] == "Sure: Your refund is approved."
    assert message["asked_text"] == "Your refund is approved."


def test_case_and_punctuation_are_no_words() -> None:
    """Transcripts are written by a model, which sets commas as it likes."""
    play = Play(rewords=lambda words: words.lower().replace(",", ""))
    play.command("assistant_input", text="One moment, please.")
    play.wait(5)
    [message] = play.of("assistant_message")
    assert not message["reworded"] and message["message"]["content"] == "One moment, please."


def test_a_line_that_cannot_be_said_in_time_is_refused() -> None:
    """Half a minute later it would be spoken over somebody."""
    play = Play()
    play.translator.receive(
        {"type": "response.created", "response": {"id": "r", "conversation_id": "c"}}, play.now, AT_MS
    )
    ticket = play.command("assistant_input", text="Stop.")
    play.wait(SAY_WITHIN_S + 0.1)
    assert ticket.outcome is not None and ticket.outcome.startswith("refused: the assistant was busy")
    assert not created(play, "response.create")


def test_a_tool_answer_is_used_at_once() -> None:
    """The answer is written, and one response asked for."""
    play = Play("support")
    call = asked(play)
    ticket = play.command("tool_response", tool_call_id=call["tool_call_id"], content=FOUND)
    assert ticket.outcome == "done"
    play.wait(4)
    assert "the order is in transit" in play.of("assistant_message")[-1]["message"]["content"]
    [answer] = play.of("tool_response")
    assert answer["content"] == FOUND
    assert len(created(play, "response.create")) == 1


def test_a_tool_error_gives_the_model_what_the_supervisor_says() -> None:
    """EVI gives the LLM `content`; here it is the output, marked as an error."""
    play = Play("support")
    call = asked(play)
    play.command("tool_error", tool_call_id=call["tool_call_id"], error="HTTP 500", content="The system is down.")
    [written] = created(play, "conversation.item.create")
    assert json.loads(written["item"]["output"]) == {"error": "The system is down."}
    [answer] = play.of("tool_error")
    assert answer["error"] == "HTTP 500"


def test_a_call_that_another_client_has_answered_is_not_answered_again() -> None:
    """The page and the supervisor both see it; what the service does with a second answer is not documented."""
    play = Play("support")
    call = asked(play)
    item = {"type": "function_call_output", "call_id": call["tool_call_id"], "output": FOUND}
    play.foreign("conversation.item.create", item=item)
    ticket = play.command("tool_response", tool_call_id=call["tool_call_id"], content="mine")
    assert ticket.outcome is not None and "answered already" in ticket.outcome
    assert not created(play, "conversation.item.create") and not created(play, "response.create")


def test_an_answer_that_somebody_else_continued_is_left_alone() -> None:
    """`conversation_already_has_active_response` after an answer: the page has asked for it already."""
    play = Play("support")
    call = asked(play)
    play.connected = False  # what follows crosses on its way
    ticket = FakeTicket("tool_response", tool_call_id=call["tool_call_id"], content=FOUND)
    play.translator.command(ticket, play.now)
    [write] = play.translator.outbox.take()
    play.call.take(write, play.now)
    joined = [frame for frame in play.frames if frame["type"] == "conversation.item.added"][-1]
    play.translator.receive(joined, play.now, AT_MS)
    play.call.take({"type": "response.create"}, play.now)  # the page
    [create] = play.translator.outbox.take()
    error = play.call.take(create, play.now)
    assert error is not None and error["error"]["code"] == "conversation_already_has_active_response"
    play.translator.receive(play.frames[-1], play.now, AT_MS)
    play.translator.receive(error, play.now, AT_MS)
    done = {"type": "response.done", "response": {**play.frames[-1]["response"], "status": "completed"}}
    play.translator.receive(done, play.now, AT_MS)
    assert ticket.outcome == "done" and not play.translator.outbox.take() and not play.of("error")


def test_with_several_calls_open_the_assistant_goes_on_after_the_last_answer() -> None:
    """It would else speak without half of what it asked for."""
    play = Play()
    calls = [
        {
            "id": f"f{n}",
            "type": "function_call",
            "call_id": f"c{n}",
            "name": "x",
            "arguments": "{}",
            "status": "completed",
        }
        for n in (1, 2)
    ]
    play.call.items.update({call["id"]: call for call in calls})  # type: ignore[attr-defined]
    response = {"id": "r1", "conversation_id": "c", "status": "completed", "output": calls}
    play.translator.receive({"type": "response.created", "response": {**response, "output": []}}, play.now, AT_MS)
    play.translator.receive({"type": "response.done", "response": response}, play.now, AT_MS)
    play.command("tool_response", tool_call_id="c1", content="one")
    assert not created(play, "response.create")
    play.command("tool_response", tool_call_id="c2", content="two")
    assert len(created(play, "response.create")) == 1


def test_an_answer_to_an_unknown_call_is_refused_with_the_services_words() -> None:
    """The `error` carries the id of the event that failed."""
    play = Play()
    ticket = play.command("tool_response", tool_call_id="call_nobody", content="x")
    assert ticket.outcome is not None and "not found in conversation" in ticket.outcome
    assert not play.of("error"), "it is the sender's alone"


def test_a_temporary_whisper_is_gone_after_one_answer() -> None:
    """As EVI's context, which holds for the next answer unless it is persistent."""
    play = Play()
    context = {"text": "The caller is a VIP.", "type": "temporary"}
    ticket = play.command("session_settings", context=context)
    assert ticket.outcome == "done" and play.of("session_settings")[-1]["context"] == context
    [item] = [item for item in play.call.items.values() if item.get("role") == "system"]
    play.command("user_input", text="Hello?")
    play.wait(10)
    assert "VIP" in play.of("assistant_message")[0]["message"]["content"]
    assert item["id"] not in play.call.items
    assert not created(play, "response.create")[1:]


def test_a_persistent_whisper_stays_until_the_next_one() -> None:
    """`context: null` takes it away."""
    play = Play()
    for text in ("First.", "Second."):
        play.command("session_settings", context={"text": text, "type": "persistent"})
        play.command("user_input", text="Hello?")
        play.wait(10)
        [item] = [item for item in play.call.items.values() if item.get("role") == "system"]
        assert item["content"][0]["text"] == text
    assert play.command("session_settings", context=None).outcome == "done"
    assert not [item for item in play.call.items.values() if item.get("role") == "system"]


def test_instructions_and_tools_are_changed_and_proven() -> None:
    """Proof is the state of the session; EVI's `parameters` are text, the service's an object."""
    play = Play()
    tool = {"type": "function", "name": "refund", "parameters": '{"type": "object"}', "description": "Pays back."}
    play.command("session_settings", variables={"shop": "Parcels"})
    ticket = play.command("session_settings", system_prompt="You work for {{shop}}.", tools=[tool])
    assert ticket.outcome == "done"
    assert play.call.session["instructions"] == "You work for Parcels."
    assert play.call.session["tools"][0]["parameters"] == {"type": "object"}
    shown = play.of("session_settings")[-1]
    assert shown["system_prompt"] == "You work for {{shop}}." and shown["tools"] == [tool], "as it was sent, once"
    assert len(play.of("session_settings")) == 3


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"language_model_api_key": "k"}, "no other model"),
        ({"builtin_tools": [{"name": "web_search"}]}, "none of EVI's"),
        ({"metadata": {"a": 1}}, "keeps none"),
        ({"tools": [{"type": "builtin", "name": "x", "parameters": "{}"}]}, "none of EVI's"),
    ],
)
def test_what_the_service_has_not_is_refused_and_nothing_is_changed(settings: dict[str, Any], why: str) -> None:
    """Half of a change would be worse than none."""
    play = Play()
    ticket = play.command("session_settings", system_prompt="Other.", **settings)
    assert ticket.outcome is not None and why in ticket.outcome and "nothing was changed" in ticket.outcome
    assert not play.sent


def test_the_voice_is_fixed_once_it_was_heard() -> None:
    """The service says so; a supervisor hears it before anything is sent."""
    play = Play()
    assert play.command("session_settings", voice_id="cedar").outcome == "done"
    play.command("user_input", text="Hello?")
    play.wait(10)
    outcome = play.command("session_settings", voice_id="marin").outcome
    assert outcome is not None and "fixed once the assistant has spoken" in outcome


def test_a_command_across_a_cut_is_known_to_be_done_or_not() -> None:
    """The id was chosen here: after the reconnect the item is asked for."""
    play = Play()
    for reached in (True, False):
        ticket = FakeTicket("user_input", text="Hello?")
        play.translator.command(ticket, play.now)
        [event] = play.translator.outbox.take()
        play.connected = False
        if reached:
            play.call.take(event, play.now)
        play.cut()
        assert ticket.outcome is None
        play.connect()
        expected = (
            "done" if reached else "refused: the connection broke before it reached the service; nothing happened"
        )
        assert ticket.outcome == expected


def test_a_line_across_a_cut_is_said_to_be_unsure() -> None:
    """Nothing gives back what became of a `response.create`: it is not written again."""
    play = Play()
    ticket = FakeTicket("assistant_input", text="Hello?")
    play.translator.command(ticket, play.now)
    play.connected = False
    play.cut()
    assert ticket.outcome is not None and "it may have been" in ticket.outcome
    play.connect()
    assert not created(play, "response.create")
