"""A server under test and the agents that use it, in one process but over real sockets towards EVI."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import mcp_types as types
from mcp import Client
from pydantic import SecretStr

from evi_mcp.clock import Clock
from evi_mcp.config import Settings
from evi_mcp.server.server import EviServer
from evi_mcp.supervision.following import Pace
from evi_mcp.supervision.service import Service, open_service
from evi_mcp.upstream.directory import Directory
from evi_mcp.upstream.transport import Connector
from tests.fake_evi import KEY, FakeEvi
from tests.supervision.following import QUICK

CHAT = "chat-1"


@asynccontextmanager
async def supervising(
    evi: FakeEvi | None = None,
    connector: Connector | None = None,
    directory: Directory | None = None,
    pace: Pace = QUICK,
    clock: Clock | None = None,
    **settings: Any,
) -> AsyncIterator[EviServer]:
    """A server with these settings, on the service `evi`; it takes a replay for over sooner than a real one.

    Its results are text and structure, unless the settings say otherwise: tests look at both.
    """
    base_url = evi.base_url if evi else "http://127.0.0.1:9"
    values = {"base_url": base_url, "hume_api_key": SecretStr(KEY), "results": "both", **settings}
    async with open_service(Settings(**values), connector, directory, clock=clock, pace=pace) as service:
        yield EviServer(service)


async def every_tool(era: str = "auto", **settings: Any) -> dict[str, types.Tool]:
    """All tools as a client is told of them, with the shapes of their results, and those for other services."""
    from evi_mcp.hub import Hub

    async with Hub(None) as hub:
        async with open_service(Settings(**{"results": "both", **settings}), hub.connector, hub.directory) as service:
            async with agent_on(EviServer(service), era) as agent:
                return {tool.name: tool for tool in (await agent.client.list_tools()).tools}


def service_behind(server: EviServer) -> Service:
    return server._service


def text_of(content: types.ContentBlock) -> str:
    assert isinstance(content, types.TextContent), content
    return content.text


class Agent:
    """A client whose calls say what went wrong."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def call(self, tool: str, **arguments: Any) -> Any:
        """The structured result of a call that succeeds."""
        answer = await self.client.call_tool(tool, arguments)
        assert not answer.is_error, answer.content
        return answer.structured_content

    async def text(self, tool: str, **arguments: Any) -> str:
        """The text of a call that succeeds."""
        answer = await self.client.call_tool(tool, arguments)
        assert not answer.is_error, answer.content
        return text_of(answer.content[0])

    async def error(self, tool: str, **arguments: Any) -> str:
        """The text of a call that fails."""
        answer = await self.client.call_tool(tool, arguments)
        assert answer.is_error, answer
        assert answer.structured_content is None
        return text_of(answer.content[0])

    @asynccontextmanager
    async def waiting(self, **arguments: Any) -> AsyncIterator[list[Any]]:
        """Sleeps in `wait_for_events` beside the block; its page is in the list once the block is left."""
        pages: list[Any] = []

        async def wait() -> None:
            pages.append(await self.call("wait_for_events", **arguments))

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            yield pages

    async def until_state(self, state: str, chat_id: str = CHAT) -> Any:
        """Waits until the chat is in this state; the Chat."""
        after = "earliest"
        while (chat := await self.call("get_chat", chat_id=chat_id))["state"] != state:
            assert chat["state"] not in ("ended", "failed"), chat  # nothing comes after those
            page = await self.call("wait_for_events", after=after, chat_ids=[chat_id], types=["chat_state"])
            after = page["cursor"]
        return chat


@asynccontextmanager
async def in_memory(server: EviServer) -> AsyncIterator[Any]:
    """A client without a transport."""
    yield server


reach: Callable[[EviServer], AbstractAsyncContextManager[Any]] = in_memory
"""How agents reach a server; `tests/http` sets another way, and runs the same tests."""


@asynccontextmanager
async def agent_on(server: EviServer, era: str = "auto", **options: Any) -> AsyncIterator[Agent]:
    async with reach(server) as there, Client(there, mode=era, **options) as client:
        yield Agent(client)


def answering(evi: FakeEvi, *made: str) -> None:
    """From now on the service answers any command with these frames."""

    async def answer(chat_id: str, _: dict[str, Any]) -> None:
        await evi.push(chat_id, *made)

    evi.on_command = answer
