"""An agent at the tools of the MCP server supervises a call of another service: nothing above the hub knows."""

import json
import re

import pytest

from evi_mcp.openai_realtime.calls import CallsConnector
from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT, agent_on, supervising
from tests.hub.wire import eventually
from tests.openai_realtime.rig import rig

pytestmark = pytest.mark.anyio
FOUND = '{"status": "in transit", "eta": "Friday"}'


async def test_an_agent_supervises_a_call_with_its_id_alone() -> None:
    """Attach, wait for a tool call, answer it, see it used, whisper, speak, pause, resume; each with its receipt."""
    async with rig() as made:
        connector = CallsConnector(made.hub.connector, made.calls, made.hub)
        async with supervising(connector=connector) as server, agent_on(server) as agent:
            call_id = made.service.start_call("support", tool_timeout_s=20.0)
            chat = await agent.call("attach_chat", chat_id=call_id)
            assert chat["state"] == "live"

            page = await agent.call("wait_for_events", after="earliest", types=["tool_call"], timeout_s=20)
            call = page["events"][-1]
            assert call["name"] == "look_up_order"
            answer = {"chat_id": call_id, "tool_call_id": call["tool_call_id"], "content": FOUND}
            receipt = await agent.call("answer_tool_call", **answer, wait_for_effect_s=5)
            assert receipt["status"] == "confirmed"
            assert "answered" in await agent.error("answer_tool_call", **answer)
            page = await agent.call(
                "wait_for_events", after=receipt["cursor"], until=[{"kind": "text", "contains": "in transit"}]
            )
            assert page["woken_by"] == "trigger" or "in transit" in json.dumps(page["events"])

            receipt = await agent.call("whisper", chat_id=call_id, text="The caller is a VIP.", persistent=True)
            assert receipt["status"] in ("sent", "confirmed")
            for tool, told in (("pause", "emulated"), ("resume", None)):
                receipt = await agent.call(tool, chat_id=call_id)
                assert receipt["status"] == "confirmed", "the service has shown the new turn detection"
                assert (told in receipt["warning"]) if told else "warning" not in receipt

            receipt = await agent.call(
                "send_assistant_input", chat_id=call_id, text="One moment, please.", wait_for_effect_s=10
            )
            assert receipt["status"] == "confirmed"
            transcript = await agent.call("get_transcript", chat_id=call_id)
            assert any("coffee machine" in turn["text"] for turn in transcript["turns"])


async def test_a_line_in_other_words_is_not_confirmed() -> None:
    """The agent reads what was said instead."""
    async with rig() as made:
        connector = CallsConnector(made.hub.connector, made.calls, made.hub)
        async with supervising(connector=connector) as server, agent_on(server) as agent:
            call_id = made.service.start_call(None, rewords=lambda words: "Perhaps.")
            await agent.call("attach_chat", chat_id=call_id)
            receipt = await agent.call(
                "send_assistant_input", chat_id=call_id, text="You get your money back.", wait_for_effect_s=2
            )
            assert receipt["status"] == "reworded" and receipt["said"] == "Perhaps."
            page = await agent.call("read_events", chat_id=call_id, after=receipt["cursor"])
            spoken = next(event for event in page["events"] if event["seq"] == receipt["confirmed_by"])
            assert (spoken["text"], spoken["asked_text"]) == ("Perhaps.", "You get your money back.")
            text = await agent.text("send_assistant_input", chat_id=call_id, text="Really.", wait_for_effect_s=2)
            assert 'reworded: other words were spoken, "Perhaps."' in text
            transcript = await agent.call("get_transcript", chat_id=call_id)
            assert [turn["text"] for turn in transcript["turns"]] == ["Perhaps."] * 2


async def test_why_a_call_cannot_be_attached_is_said_to_the_agent() -> None:
    """The sentence of the service's refusal, not that of some bot."""
    async with rig() as made:
        connector = CallsConnector(made.hub.connector, made.calls, made.hub)
        async with supervising(connector=connector) as server, agent_on(server) as agent:
            made.service.refuse["rtc_1"] = [(401, {})] * 5
            said = await agent.error("attach_chat", chat_id="rtc_1")
            assert "OPENAI_API_KEY" in said


async def test_an_agent_ends_a_call() -> None:
    """The receipt is proof that the call is over, and the chat says who ended it."""
    async with rig() as made:
        connector = CallsConnector(made.hub.connector, made.calls, made.hub)
        async with supervising(connector=connector) as server, agent_on(server) as agent:
            call_id = made.service.start_call(None)
            await agent.call("attach_chat", chat_id=call_id)
            receipt = await agent.call("end_chat", chat_id=call_id)
            assert (receipt["command"], receipt["status"]) == ("end_chat", "confirmed")
            chat = await agent.until_state("ended", call_id)
            assert "a supervisor has ended the call" in chat["reason"]


async def test_an_agent_transfers_a_call() -> None:
    """What is no address is refused before the network, and the call goes on."""
    async with rig() as made:
        connector = CallsConnector(made.hub.connector, made.calls, made.hub)
        async with supervising(connector=connector) as server, agent_on(server) as agent:
            call_id = made.service.start_call(None)
            await agent.call("attach_chat", chat_id=call_id)
            said = await agent.error("transfer_chat", chat_id=call_id, target_uri="https://example.com")
            assert "target_uri" in said and not made.service.referred
            receipt = await agent.call("transfer_chat", chat_id=call_id, target_uri="tel:+14155550123")
            assert receipt["status"] == "confirmed" and made.service.referred == {call_id: "tel:+14155550123"}


async def test_a_service_that_does_not_end_a_call_is_believed() -> None:
    """No receipt says that a call has ended which goes on: the reason is in the log, and the receipt points to it."""
    async with rig() as made:
        connector = CallsConnector(made.hub.connector, made.calls, made.hub)
        async with supervising(connector=connector) as server, agent_on(server) as agent:
            call_id = made.service.start_call(None)
            await agent.call("attach_chat", chat_id=call_id)
            made.service.refuse_rest[call_id] = 500
            receipt = await agent.call("end_chat", chat_id=call_id)
            assert receipt["status"] == "sent" and "no effect" in receipt["warning"]
            page = await agent.call("read_events", chat_id=call_id, types=["error"])
            assert "HTTP 500" in page["events"][-1]["error"]


async def test_what_was_said_before_the_attach_is_a_gap() -> None:
    """A page from the beginning says that it does not begin there, and one from later on does not."""
    async with rig() as made:
        connector = CallsConnector(made.hub.connector, made.calls, made.hub)
        async with supervising(connector=connector) as server, agent_on(server) as agent:
            call_id = made.service.start_call(None)
            await agent.call("attach_chat", chat_id=call_id)
            types = ["chat_metadata", "history_truncated"]
            page = await agent.call("read_events", chat_id=call_id, types=types)
            assert page["gap"] == {"reason": "before_attach", "oldest_seq": page["events"][0]["seq"]}
            assert "gap" not in await agent.call("read_events", chat_id=call_id, after=page["cursor"])
            text = await agent.text("read_events", chat_id=call_id)
            assert "gap: before_attach, the service gives no history" in text
            assert 'history_truncated "The service gives no history' in text


async def test_what_only_such_a_call_has_is_read_in_words() -> None:
    """Keys, what was not heard, what comes too late, what the model recalls: JSON and field names tell a model less."""
    async with rig() as made:
        connector = CallsConnector(made.hub.connector, made.calls, made.hub)
        async with supervising(connector=connector) as server, agent_on(server) as agent:
            call_id = made.service.start_call("support", tool_timeout_s=0.3)
            await agent.call("attach_chat", chat_id=call_id)
            made.service.push(call_id, {"type": "input_audio_buffer.dtmf_event_received", "event": "5"})
            await agent.until_state("ended", call_id)
            text = await agent.text("read_events", chat_id=call_id, limit=200, max_chars=50_000)
            assert 'dtmf "The caller pressed 5."' in text
            assert re.search(r"user_interruption \((not heard|heard in part, [\d.]+ s of it)\)", text)
            page = await agent.call("read_events", chat_id=call_id, types=["user_interruption"])
            assert page["events"][0]["heard"] in ("part", "none")


async def test_an_agent_that_comes_late_may_have_the_model_recall_what_was_said() -> None:
    """An option, off by default, for it costs tokens; its answer is the first thing to read, and says what it is."""
    async with rig() as made:
        connector = CallsConnector(made.hub.connector, made.calls, made.hub)
        async with supervising(connector=connector) as server, agent_on(server) as agent:
            call_id = made.service.start_call("support", tool_timeout_s=20.0)
            await eventually(lambda: "coffee machine" in str(made.service.call(call_id).items))
            chat = await agent.call("attach_chat", chat_id=call_id)
            assert not [event for event in made.service.received if event["type"] == "response.create"]
            await agent.call("detach_chat", chat_id=call_id)
            chat = await agent.call("attach_chat", chat_id=call_id, recap=True)
            page = await agent.call("wait_for_events", after=chat["cursor"], types=["recap"], timeout_s=5)
            said = str(page["events"])
            assert "own account" in said and "coffee machine" in said
            assert "recap" in await agent.text("read_events", chat_id=call_id, types=["recap"])


async def test_a_chat_whose_service_gives_its_history_has_no_recap(evi: FakeEvi) -> None:
    """It is said, and the chat is attached all the same."""
    evi.history[CHAT] = [frames.metadata()]
    async with supervising(evi) as server, agent_on(server) as agent:
        said = await agent.error("attach_chat", chat_id=CHAT, recap=True)
        assert "is attached, and there is no recap" in said
        assert (await agent.call("get_chat", chat_id=CHAT))["state"] == "live"
    assert evi.received[CHAT] == []
