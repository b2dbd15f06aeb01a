"""Clients that give up sooner than the server answers: it learns that, and no wake-up is lost by it."""

import json
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests import frames
from tests.fake_evi import KEY, FakeEvi
from tests.harness import CHAT, text_of
from tests.process.conftest import SCRIPT, Process, evi_mcp

pytestmark = pytest.mark.anyio

GIVEN_UP = "your client seems to give up after"


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_wait_that_a_client_has_given_up_makes_its_next_ones_shorter(evi: FakeEvi, era: str) -> None:
    """Issue: openai-agents, ADK and autogen give up after 5 s, agno after 10. What came later reached nobody, and the
    agent heard of an error, not of what was said."""
    evi.history[CHAT] = [frames.metadata()]
    environment = {"EVI_MCP_BASE_URL": evi.base_url, "HUME_API_KEY": KEY}
    server = stdio_client(StdioServerParameters(command=SCRIPT, env=environment))
    async with Client(server, mode=era) as client:
        await client.call_tool("attach_chat", {"chat_id": CHAT})
        wait = {"types": ["user_message"], "timeout_s": 50}
        with pytest.raises(MCPError, match="timed out"):
            await client.call_tool("wait_for_events", wait, read_timeout_seconds=1)
        with anyio.fail_after(30):
            answer = await client.call_tool("wait_for_events", wait)
        assert not answer.is_error and GIVEN_UP in text_of(answer.content[0])
        # Nobody else's are: the next client of this server, were there one, has shown nothing.
        await evi.push(CHAT, frames.user("Hello?", 100))
        woken = text_of((await client.call_tool("wait_for_events", {**wait, "after": "earliest"})).content[0])
        assert "Hello?" in woken and GIVEN_UP not in woken


async def cancelled(server: Process, request: int, reason: str) -> None:
    """The client says that it no longer waits for this request; returns when the server has read it."""
    params = {"requestId": request, "reason": reason}
    server.write(json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}))
    await server.request("ping")


async def answer_to(server: Process, request: int) -> str:
    """The text of the answer to this request."""
    while (answer := await server.read()).get("id") != request:
        pass
    return str(answer["result"]["content"][0]["text"])


async def text(server: Process, tool: str, **arguments: Any) -> str:
    return str((await server.call(tool, **arguments))["content"][0]["text"])


SILENCE = [{"kind": "silence", "seconds": 1}]


@pytest.mark.parametrize("after", ["latest", "its cursor"])
async def test_a_wake_up_that_a_client_has_not_waited_for_is_not_spent(evi: FakeEvi, after: str) -> None:
    """Issue: a silence wakes an agent once, and then after as long again. Where its client had given up when the answer
    came, the agent had not been woken."""
    evi.history[CHAT] = [frames.metadata(), frames.user("Hello?", 100)]
    async with evi_mcp(evi=evi) as server:
        await server.initialize()
        chat = await server.call("attach_chat", chat_id=CHAT)
        place = after if after == "latest" else chat["structuredContent"]["cursor"]
        server.ask(100, "wait_for_events", after=place, until=SILENCE)
        assert "silence" in await answer_to(server, 100)
        await cancelled(server, 100, "McpError: MCP error -32001: Request timed out")
        # It does not wait at all: the silence is due now, or it would be a second later.
        assert "woken by silence" in await text(server, "wait_for_events", after=place, until=SILENCE, timeout_s=0)


async def test_a_wait_that_is_cancelled_before_anything_happened_spends_nothing(evi: FakeEvi) -> None:
    """And one that a person cancels says nothing of how long the client waits."""
    evi.history[CHAT] = [frames.metadata(), frames.user("Hello?", 100)]
    async with evi_mcp(evi=evi) as server:
        await server.initialize()
        await server.call("attach_chat", chat_id=CHAT)
        server.ask(100, "wait_for_events", until=[{"kind": "silence", "seconds": 600}])
        await server.request("ping")
        await cancelled(server, 100, "AbortError: the user has stopped it")
        woken = await text(server, "wait_for_events", until=SILENCE, timeout_s=25)
        assert "woken by silence" in woken and GIVEN_UP not in woken


async def test_no_wait_is_longer_than_the_setting_allows(evi: FakeEvi) -> None:
    """For a client of which its operator knows when it gives up."""
    evi.history[CHAT] = [frames.metadata()]
    async with evi_mcp(evi=evi, EVI_MCP_MAX_WAIT="1") as server:
        await server.initialize()
        await server.call("attach_chat", chat_id=CHAT)
        said = await text(server, "wait_for_events", types=["user_message"], timeout_s=50)
        assert "was to last 50 s and ended after 1 s" in said and "EVI_MCP_MAX_WAIT" in said
        assert "EVI_MCP_MAX_WAIT" not in await text(server, "wait_for_events", types=["user_message"], timeout_s=0.5)
