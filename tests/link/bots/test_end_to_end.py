"""A real bot, the real hub, the real server, and an MCP client: four processes that know nothing of each other."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.link.bots.call import Call, call_with, free_port
from tests.link.fake_hub import KEY
from tests.process.conftest import Process, evi_mcp

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("kind", ["pipecat", "livekit"])]


class Agent:
    """What an agent does with the tools, on one chat."""

    def __init__(self, server: Process) -> None:
        self._server = server
        self._cursor = ""

    async def use(self, tool: str, **arguments: Any) -> Any:
        """The structured result of a tool."""
        result = await self._server.call(tool, chat_id="call-1", **arguments)
        assert not result.get("isError"), result["content"]
        return result["structuredContent"]

    async def active(self) -> Any:
        return (await self._server.call("list_chats", scope="active"))["structuredContent"]

    async def attach(self) -> None:
        self._cursor = (await self.use("attach_chat"))["cursor"]

    async def wait_for(self, type_: str, text: str = "") -> Any:
        """Waits for an event of this type with this text in it, with `wait_for_events` alone."""
        with anyio.fail_after(40):
            while True:
                page = await self._wait(type_)
                for event in page["events"]:
                    if event["type"] == type_ and text in (event.get("text") or ""):
                        self._cursor = f"{page['cursor'].split('-')[0]}-{event['seq']}"
                        return event
                self._cursor = page["cursor"]

    async def _wait(self, type_: str) -> Any:
        until = [{"kind": "event", "types": [type_]}]
        result = await self._server.call(
            "wait_for_events", chat_ids=["call-1"], after=self._cursor, until=until, types=[type_], timeout_s=10
        )
        assert not result.get("isError"), result["content"]
        return result["structuredContent"]


@asynccontextmanager
async def supervised(kind: str, python: Path) -> AsyncIterator[tuple[Call, Agent]]:
    """The Pipecat bot's hub runs alone, the LiveKit agent's inside the server."""
    async with AsyncExitStack() as processes:
        if kind == "pipecat":
            hub = await processes.enter_async_context(evi_mcp("hub", "--port", "0", EVI_MCP_HUB_KEYS=KEY))
            assert hub.process.stdout is not None
            base_url = (await hub.process.stdout.readline()).decode().strip()
            serving = evi_mcp("serve", EVI_MCP_BASE_URL=base_url, HUME_API_KEY=KEY)
        else:
            address = f"127.0.0.1:{free_port()}"
            base_url = f"http://{address}"
            serving = evi_mcp("serve", "--hub", address, EVI_MCP_HUB_KEYS=KEY)
        server = await processes.enter_async_context(serving)
        await server.initialize()
        bot = call_with(kind, python, None, hub_url=base_url, chat_id="call-1")
        call = await processes.enter_async_context(bot)
        yield call, Agent(server)


async def test_an_agent_supervises_a_call(kind: str, bots_python: Path) -> None:
    """Attaches late and sees the past; then everything that issue 12 asks for, each seen by agent and caller."""
    async with supervised(kind, bots_python) as (call, agent):
        await call.say("hello there")
        await call.hears("You said: hello there.")

        (chat,) = (await agent.active())["chats"]
        assert chat["chat_id"] == "call-1"
        await agent.attach()
        transcript = json.dumps(await agent.use("get_transcript"))
        assert "hello there" in transcript and "You said: hello there." in transcript

        await call.say("where is my parcel")
        await call.hears("It is in Lyon.")
        await agent.wait_for("user_message", "where is my parcel")
        tool = await agent.wait_for("tool_response")
        assert "Lyon" in tool["content"]

        await call.say("I want a refund")
        asked = await agent.wait_for("tool_call")
        while asked["name"] != "refund":
            asked = await agent.wait_for("tool_call")
        receipt = await agent.use("answer_tool_call", tool_call_id=asked["tool_call_id"], content="granted")
        assert receipt["status"] in ("confirmed", "sent")
        await call.hears("I hear: granted")
        await agent.wait_for("assistant_message", "I hear: granted")

        receipt = await agent.use("send_assistant_input", text="One moment. A colleague joins.", wait_for_effect_s=10)
        assert receipt["status"] == "confirmed"
        await call.hears("One moment. A colleague joins.")

        await agent.use("whisper", text="be brief")
        await call.say("one")
        await call.hears("You said: one. I was told: Context: be brief.")

        assert (await agent.use("pause"))["status"] == "confirmed"
        await call.say("are you there")
        await agent.wait_for("user_message", "are you there")
        await call.say("so where is my parcel")
        await agent.wait_for("user_message", "so where is my parcel")
        await anyio.sleep(1.0)
        assert call.heard.strip() == ""
        assert (await agent.use("resume"))["status"] == "confirmed"
        await call.hears("It is in Lyon.")

        await call.say("tell me a very long story about everything that has happened to all the parcels of this town")
        await call.hears("You said: tell me")
        await call.say("stop")
        await agent.wait_for("user_interruption")
        await call.hears("You said: stop.")

        await call.hang_up()
        for program in {call.bot, call.caller}:
            await program.kill()
        assert (await agent.use("get_chat"))["state"] in ("live", "reconnecting", "ended")
