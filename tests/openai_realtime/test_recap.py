"""The model's own account of what was said before the attach: asked for, labelled, and no record."""

import pytest

from evi_mcp.openai_realtime.recap import MAX_ASKED
from evi_mcp.openai_realtime.translator import Translator
from tests.openai_realtime.play import Play
from tests.openai_realtime.rig import rig


def late(*, recap: bool = False) -> Play:
    """A call that has gone on for a while before anybody attaches."""
    play = Play("support", connect=False)
    play.wait(20)
    play.translator = Translator(play.messages.append, "test", recap=recap)
    play.connect()
    return play


def test_it_is_the_models_account_and_says_so() -> None:
    """There is no history; what the model says of it is no record, and nothing that was said."""
    play = late(recap=True)
    play.wait(5)
    [recap] = play.of("recap")
    assert "own account" in recap["message"] and "coffee machine" in recap["message"]
    assert not [m for m in play.of("assistant_message") if "coffee machine" in m["message"]["content"]]


def test_nobody_asks_for_it_unless_told_to() -> None:
    """It costs tokens."""
    play = late()
    play.wait(5)
    assert not play.of("recap") and not [event for event in play.sent if event["type"] == "response.create"]


def test_it_can_be_asked_for_at_any_time_and_its_sender_is_told() -> None:
    """A supervisor that attaches to a chat which is followed already has read nothing of it, either."""
    play = late()
    ticket = play.command("recap")
    play.wait(5)
    assert ticket.outcome == "done" and len(play.of("recap")) == 1


def test_a_connection_that_breaks_leaves_nobody_waiting() -> None:
    """Nor is an answer of before taken for that of a later question."""
    play = late()
    ticket = play.command("recap")
    play.cut()
    assert ticket.outcome is not None and "broke" in ticket.outcome
    play.connect()
    play.wait(5)
    assert not play.of("recap")


def test_a_model_that_is_asked_too_often_is_spared() -> None:
    """Every question is a response of its own, and is paid for."""
    play = Play("support")
    play.connected = False  # nothing reaches the service
    outcomes = [play.command("recap").outcome for _ in range(MAX_ASKED + 1)]
    assert outcomes[:-1] == [None] * MAX_ASKED and str(outcomes[-1]).startswith("refused")


@pytest.mark.anyio
async def test_a_recap_is_a_command_of_the_chat() -> None:
    """Declared in `supports`, carried by the hub, and seen by everybody who follows the chat."""
    async with rig() as made:
        call_id = await made.attached("support")
        one, other = await made.supervise(call_id), await made.supervise(call_id)
        assert "recap" in (await one.until("chat_metadata"))["supports"]
        await one.until("tool_call")
        await one.send("recap")
        for agent in (one, other):
            assert "coffee machine" in (await agent.until("recap"))["message"]
