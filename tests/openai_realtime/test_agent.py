"""An agent at the tools of the MCP server supervises a call of another service: nothing above the hub knows."""

import json

import pytest

from evi_mcp.openai_realtime.calls import CallsConnector
from tests.harness import agent_on, supervising
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

            settings = {"context": "The caller is a VIP.", "context_type": "persistent"}
            receipt = await agent.call("update_session_settings", chat_id=call_id, **settings)
            assert receipt["status"] in ("sent", "confirmed")
            for tool in ("pause", "resume"):
                assert (await agent.call(tool, chat_id=call_id))["chat_id"] == call_id

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
            assert receipt["status"] != "confirmed"
            transcript = await agent.call("get_transcript", chat_id=call_id)
            assert [turn["text"] for turn in transcript["turns"]] == ["Perhaps."]


async def test_why_a_call_cannot_be_attached_is_said_to_the_agent() -> None:
    """The sentence of the service's refusal, not that of some bot."""
    async with rig() as made:
        connector = CallsConnector(made.hub.connector, made.calls, made.hub)
        async with supervising(connector=connector) as server, agent_on(server) as agent:
            made.service.refuse["rtc_1"] = [(401, {})] * 5
            said = await agent.error("attach_chat", chat_id="rtc_1")
            assert "OPENAI_API_KEY" in said
