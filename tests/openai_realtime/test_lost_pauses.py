"""A pause on a call whose connection is lost: the assistant speaks again, whatever the connection was doing meanwhile.

The service keeps the turn detection that a pause has set. Nobody else puts it back.
"""

from typing import Any

import pytest

from evi_mcp.openai_realtime.calls import CallsConnector
from evi_mcp.upstream.transport import NotTaken
from tests.harness import agent_on, supervising
from tests.hub.wire import eventually
from tests.openai_realtime.play import FakeTicket, Play
from tests.openai_realtime.rig import Rig, rig

pytestmark = pytest.mark.anyio
AWAY: list[Any] = [(503, {})] * 100_000
RESUME = '{"type": "resume_assistant_message"}'


def answers(made: Rig, call_id: str) -> bool:
    """Whether the assistant answers of its own accord."""
    found: bool = made.service.call(call_id).session["audio"]["input"]["turn_detection"]["create_response"]
    return found


async def paused(made: Rig) -> str:
    """A call whose assistant is held back."""
    call_id = await made.attached()
    agent = await made.supervise(call_id)
    await agent.send("pause_assistant_message")
    await agent.until("command_result")
    assert not answers(made, call_id)
    return call_id


async def test_a_pause_is_ended_on_a_call_whose_connection_was_given_up() -> None:
    """By the id alone, as the promise of a pause does it: a new sideband, and the former detection is back."""
    async with rig(reconnect_for_s=0.05) as made:
        connector = CallsConnector(made.hub.connector, made.calls, made.hub)
        call_id = await paused(made)
        before = dict(made.service.call(call_id).session["audio"]["input"])
        made.service.refuse[call_id] = list(AWAY)
        made.service.cut(call_id)
        assert "gave up" in await made.ended(call_id)
        with pytest.raises(NotTaken, match="HTTP 503") as refused:
            await connector.post(call_id, RESUME, 5.0)
        assert not refused.value.gone
        made.service.refuse.clear()
        await connector.post(call_id, RESUME, 5.0)
        await eventually(lambda: answers(made, call_id))
        after = made.service.call(call_id).session["audio"]["input"]
        assert {**after, "turn_detection": None} == {**before, "turn_detection": None}, "what else was set stays"


async def test_a_call_that_has_ended_needs_no_resume() -> None:
    """Whoever keeps the promise is told that nobody is left to hear it."""
    async with rig(reconnect_for_s=0.05) as made:
        connector = CallsConnector(made.hub.connector, made.calls, made.hub)
        call_id = await paused(made)
        made.service.refuse[call_id] = list(AWAY)
        made.service.cut(call_id)
        await made.ended(call_id)
        made.service.call(call_id).hang_up()
        made.service.wake(call_id)
        made.service.refuse.clear()
        await eventually(lambda: call_id not in made.service.running)
        with pytest.raises(NotTaken) as refused:
            await connector.post(call_id, RESUME, 5.0)
        assert refused.value.gone


@pytest.mark.parametrize("reconnect_for_s", [300.0, 0.05], ids=["comes back", "is given up"])
async def test_a_resume_while_the_connection_is_away_takes_effect_when_it_is_back(reconnect_for_s: float) -> None:
    """It was taken, so nobody tries again: whoever took it has to see to it, also after the connection was given up."""
    async with rig(reconnect_for_s=reconnect_for_s) as made:
        call_id = await paused(made)
        made.service.refuse[call_id] = list(AWAY)
        made.service.cut(call_id)
        await eventually(lambda: (chat := made.hub.chats.live(call_id)) is not None and chat.away)
        await made.hub.connector.post(call_id, RESUME, 5.0)
        if reconnect_for_s < 1:
            await made.ended(call_id)
        assert not answers(made, call_id)
        made.service.refuse.clear()
        await eventually(lambda: answers(made, call_id))


async def test_a_pause_of_an_agent_ends_although_the_call_was_lost_here() -> None:
    """The promise of `resume_after_s`, all the way: the hub has lost the chat, and the caller is still there."""
    async with rig(reconnect_for_s=0.05) as made:
        connector = CallsConnector(made.hub.connector, made.calls, made.hub)
        async with supervising(connector=connector, reconnect_for=0.2) as server, agent_on(server) as agent:
            call_id = made.service.start_call(None)
            await agent.call("attach_chat", chat_id=call_id)
            await agent.call("pause", chat_id=call_id, resume_after_s=1)
            made.service.refuse[call_id] = list(AWAY)
            made.service.cut(call_id)
            chat = await agent.call("get_chat", chat_id=call_id)
            while chat["state"] != "failed":
                page = await agent.call("wait_for_events", after=chat["cursor"], types=["chat_state"], timeout_s=5)
                assert page["state"][call_id] != "ended", "nobody knows that the call is over"
                chat = await agent.call("get_chat", chat_id=call_id)
            made.service.refuse.clear()
            await eventually(lambda: answers(made, call_id))


def test_a_new_adapter_goes_on_with_the_pause_of_the_one_before() -> None:
    """What another client asks for is still cancelled, and a resume brings back what there was."""
    play = Play("support")
    play.wait(8)

    def detection() -> dict[str, Any]:
        found: dict[str, Any] = play.call.session["audio"]["input"]["turn_detection"]
        return {name: value for name, value in found.items() if value is not None}

    before = detection()
    play.command("pause_assistant_message")
    play.attach_anew()
    assert play.translator.paused
    play.foreign("response.create")
    assert [error["slug"] for error in play.of("error")] == ["pause_broken"]
    assert play.command("resume_assistant_message").outcome == "done"
    assert detection() == before and play.translator.held is None


def test_a_resume_that_was_not_seen_to_take_effect_is_made_up_for() -> None:
    """By the next adapter, before anything else, and with everything that the session has beside it."""
    play = Play(None)
    kept = play.call.session["audio"]["input"]
    play.command("pause_assistant_message")
    play.cut()
    play.translator.command(ticket := FakeTicket("resume_assistant_message"), play.now)
    assert ticket.outcome is None
    play.attach_anew()
    assert play.call.session["audio"]["input"]["turn_detection"]["create_response"] is True
    assert play.call.session["audio"]["input"]["transcription"] == kept["transcription"]
    assert play.translator.held is None and not play.translator.paused
