"""Tools for which EVI has no command: listed where some chat may take it, and clients are told when that changes.

A tool that no chat can serve costs every agent the tokens of its description, and a call that is refused.
"""

from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.client.subscriptions import ToolsListChanged

from evi_mcp.access.callers import Access, Rights
from evi_mcp.hub import Hub
from evi_mcp.protocol.commands import EVI_COMMANDS
from evi_mcp.server.server import EviServer
from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT, Agent, agent_on, service_behind, supervising
from tests.http.rig import until

pytestmark = pytest.mark.anyio
OTHERS = {"end_chat", "transfer_chat"}


async def offered(agent: Agent) -> set[str]:
    """Which of them are listed."""
    return OTHERS & {tool.name for tool in (await agent.client.list_tools()).tools}


def of_a_bot(chat_id: str = CHAT) -> str:
    """Says that the chat can be ended."""
    return frames.metadata(chat_id, source="custom", supports=[*EVI_COMMANDS, "end_chat"])


async def test_they_are_listed_while_a_chat_takes_them(evi: FakeEvi, era: str) -> None:
    """EVI has none of these commands; a bot says which it has, and takes none once its chat is over."""
    evi.history["evis-own"] = [frames.metadata("evis-own")]
    evi.history[CHAT] = [of_a_bot()]
    async with supervising(evi) as server, agent_on(server, era) as agent:
        await agent.call("attach_chat", chat_id="evis-own")
        assert await offered(agent) == set()
        said = await agent.error("end_chat", chat_id="evis-own")
        assert "end_chat" in said, "who calls it all the same is told why not"
        await agent.call("attach_chat", chat_id=CHAT)
        assert await offered(agent) == {"end_chat"}
        await evi.close(CHAT)
        await agent.until_state("ended")
        assert await offered(agent) == set()


async def test_they_are_listed_from_the_start_where_such_chats_may_come() -> None:
    """Most clients list the tools once, before anything is attached."""
    async with Hub(None) as hub:
        async with supervising(None, hub.connector, directory=hub.directory) as server, agent_on(server) as agent:
            assert await offered(agent) == OTHERS
        async with (
            supervising(None, hub.connector, directory=hub.directory, access=Access.COACH) as server,
            agent_on(server) as agent,
        ):
            assert await offered(agent) == set(), "the level counts as for any other"


async def test_a_listening_client_is_told_when_they_come(evi: FakeEvi) -> None:
    """A client of 2026-07-28 asks for it on its stream."""
    evi.history[CHAT] = [of_a_bot()]
    with anyio.fail_after(20):
        async with supervising(evi) as server, agent_on(server) as agent:
            async with agent.client.listen(tools_list_changed=True) as stream:
                await agent.call("attach_chat", chat_id=CHAT)
                async for event in stream:
                    if isinstance(event, ToolsListChanged):
                        break
                assert await offered(agent) == {"end_chat"}
                await agent.call("detach_chat", chat_id=CHAT)
                async for event in stream:
                    if isinstance(event, ToolsListChanged):
                        break
                assert await offered(agent) == set()


async def test_an_older_client_is_told_when_they_come(evi: FakeEvi) -> None:
    """It has said that it lists again when it is told to, and is promised to be told."""
    evi.history[CHAT], evi.history["evis-own"] = [of_a_bot()], [frames.metadata("evis-own")]
    told: list[str] = []

    async def note(message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            told.append("tools")

    with anyio.fail_after(20):
        async with supervising(evi) as server, agent_on(server, "legacy", message_handler=note) as agent:
            capabilities = agent.client.server_capabilities.tools
            assert capabilities is not None and capabilities.list_changed
            await agent.call("attach_chat", chat_id="evis-own")
            await agent.call("detach_chat", chat_id="evis-own")
            await agent.call("attach_chat", chat_id=CHAT)
            await until(lambda: told)
            assert await offered(agent) == {"end_chat"} and told == ["tools"], "of EVI's own chats nothing is new"


async def test_a_chat_that_a_caller_may_not_see_offers_it_nothing(evi: FakeEvi, era: str) -> None:
    """Even a tool that appears is a trace of a chat."""
    evi.history[CHAT] = [of_a_bot()]
    async with supervising(evi) as server, agent_on(server, era) as agent:
        limited = EviServer(service_behind(server), Rights(Access.BARGE, frozenset({"another"})))
        async with agent_on(limited, era) as other:
            await agent.call("attach_chat", chat_id=CHAT)
            assert await offered(agent) == {"end_chat"} and await offered(other) == set()
