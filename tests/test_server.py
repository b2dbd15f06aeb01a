"""The whole way, from a WebSocket frame to a tool result and back, in both protocol eras."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from mcp import Client
from pydantic import SecretStr

from evi_mcp.app import App, open_app
from evi_mcp.config import Settings
from evi_mcp.server.server import EviServer
from tests import frames
from tests.fake_evi import KEY, FakeEvi, fake_evi

pytestmark = pytest.mark.anyio
CHAT = "chat-1"


@pytest.fixture(params=["auto", "legacy"])
def era(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def supervising(evi: FakeEvi, **settings: Any) -> AsyncIterator[tuple[App, EviServer]]:
    values = {"base_url": evi.base_url, "hume_api_key": SecretStr(KEY), **settings}
    async with open_app(Settings(**values)) as app:
        yield app, EviServer(app)


class Agent:
    """A client that says what went wrong."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def call(self, tool: str, **arguments: Any) -> Any:
        answer = await self.client.call_tool(tool, arguments)
        assert not answer.is_error, answer.content
        return answer.structured_content

    async def text(self, tool: str, **arguments: Any) -> str:
        answer = await self.client.call_tool(tool, arguments)
        assert not answer.is_error, answer.content
        return str(answer.content[0].text)

    async def error(self, tool: str, **arguments: Any) -> str:
        answer = await self.client.call_tool(tool, arguments)
        assert answer.is_error, answer
        return str(answer.content[0].text)


@asynccontextmanager
async def agent_on(server: EviServer, era: str = "auto") -> AsyncIterator[Agent]:
    async with Client(server, mode=era) as client:
        yield Agent(client)


async def test_an_agent_attaches_reads_waits_and_speaks(era: str) -> None:
    """The main path of the product."""
    with anyio.fail_after(20):
        async with fake_evi() as evi, supervising(evi) as (_, server), agent_on(server, era) as agent:
            evi.history[CHAT] = [frames.metadata(), frames.user("Hello?", 100), frames.assistant("Hi."), frames.end()]
            chat = await agent.call("attach_chat", chat_id=CHAT)
            assert (chat["state"], chat["chat_group_id"], chat["event_count"]) == ("live", "group-1", 5)
            page = await agent.call("read_events", chat_id=CHAT)
            print(await agent.text("read_events", chat_id=CHAT))
            assert [event["type"] for event in page["events"]] == [
                "chat_metadata", "user_message", "assistant_message", "assistant_end", "chat_state",
            ]  # fmt: skip
            await evi.push(CHAT, frames.user("Are you there?", 5000))
            page = await agent.call("wait_for_events", after=page["cursor"])
            assert [event["text"] for event in page["events"]] == ["Are you there?"]
            assert page["woken_by"] == "event"

            async def echo(chat_id: str, command: dict[str, Any]) -> None:
                await evi.push(chat_id, frames.typed(command["text"]))

            evi.on_command = echo
            receipt = await agent.call("send_user_input", chat_id=CHAT, text="Could you repeat that?")
            assert receipt["status"] == "confirmed"
            assert evi.received[CHAT] == [{"type": "user_input", "text": "Could you repeat that?"}]
            print(await agent.text("get_transcript", chat_id=CHAT))
            print(await agent.text("get_chat", chat_id=CHAT))
            print(json.dumps(page))
