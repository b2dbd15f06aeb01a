"""Calls of OpenAI Realtime in processes: simulated ones in `serve`, announced ones on `hub`."""

import signal

import anyio
import httpx
import pytest

from evi_mcp.simulator.openai import OpenAISimulator
from tests import frames
from tests.fake_evi import KEY as EVI_KEY
from tests.fake_evi import FakeEvi
from tests.hub.wire import eventually
from tests.process.conftest import evi_mcp

pytestmark = pytest.mark.anyio


async def test_simulated_calls_of_openai_are_live_chats_at_once() -> None:
    """No key and no account: an agent attaches, speaks, and sees its words come back."""
    async with evi_mcp("serve", "--simulate=openai") as server:
        await server.initialize()
        chats = (await server.call("list_chats", scope="active"))["structuredContent"]["chats"]
        assert len(chats) == 3 and all(chat["chat_id"].startswith("rtc_") for chat in chats)
        chat_id = chats[0]["chat_id"]
        chat = (await server.call("attach_chat", chat_id=chat_id))["structuredContent"]
        assert chat["state"] == "live"
        receipt = await server.call("send_user_input", chat_id=chat_id, text="Are you there?", wait_for_effect_s=5)
        assert receipt["structuredContent"]["status"] == "confirmed"
        server.process.send_signal(signal.SIGINT)
        assert (await server.ended())[0] == 130


async def test_a_call_is_announced_to_a_hub_and_followed() -> None:
    """With the service's key in its environment a hub takes calls; the key is on no page and in no log."""
    key = "sk-a-key-of-some-length"
    async with OpenAISimulator(api_key=key, speed=10) as service:
        call_id = service.start_call("support")
        environment = {"OPENAI_API_KEY": key, "EVI_MCP_OPENAI_BASE_URL": service.base_url}
        async with evi_mcp("hub", "--port", "0", environment=environment) as hub:
            assert hub.process.stdout is not None
            base_url = (await hub.process.stdout.readline()).decode().strip()
            async with httpx.AsyncClient(base_url=base_url, trust_env=False) as client:
                assert (await client.post("/v0/evi/chats", json={"call_id": call_id})).status_code == 202
                with anyio.fail_after(10):
                    while call_id not in (page := (await client.get("/v0/evi/chats")).text):  # noqa: ASYNC110
                        await anyio.sleep(0.05)
                assert key not in page
            hub.process.send_signal(signal.SIGTERM)
            status, log = await hub.ended()
            assert status == 0 and key not in log


async def test_calls_and_chats_of_evi_are_supervised_by_one_server(evi: FakeEvi) -> None:
    """With a key for each. Ids say which is which, and both kinds are acted on."""
    key = "sk-a-key-of-some-length"
    evi.history["chat-1"] = [frames.metadata("chat-1")]
    evi.chats["chat-1"] = {"id": "chat-1", "status": "ACTIVE"}
    evi.refuse["no-such-chat"] = 404
    async with OpenAISimulator(api_key=key) as service:
        call_id = service.start_call(None)
        environment = {
            "OPENAI_API_KEY": key,
            "EVI_MCP_OPENAI_BASE_URL": service.base_url,
            "HUME_API_KEY": EVI_KEY,
            "EVI_MCP_BASE_URL": evi.base_url,
            "EVI_MCP_RESULTS": "structured",
        }
        async with evi_mcp("serve", environment=environment) as server:
            await server.initialize()
            for chat_id in (call_id, "chat-1"):
                chat = (await server.call("attach_chat", chat_id=chat_id))["structuredContent"]
                assert chat["state"] == "live"
                await server.call("pause", chat_id=chat_id)
            detection = service.call(call_id).session["audio"]["input"]["turn_detection"]
            assert detection["create_response"] is False
            assert [command["type"] for command in evi.received["chat-1"]] == ["pause_assistant_message"]
            listed = (await server.call("list_chats", scope="active"))["structuredContent"]["chats"]
            assert {chat["chat_id"] for chat in listed} == {call_id, "chat-1"}
            said = await server.call("attach_chat", chat_id="no-such-chat")
            assert said["isError"] and "HTTP 404" in said["content"][0]["text"]
            server.end_input()
            assert (await server.ended())[0] == 0
        assert [command["type"] for command in evi.received["chat-1"]][-1] == "resume_assistant_message"
        await eventually(
            lambda: service.call(call_id).session["audio"]["input"]["turn_detection"]["create_response"] is True
        )
