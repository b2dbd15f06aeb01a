"""Chats of a hub in this process are news: nobody should have to ask for a list to see that a caller is there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from evi_mcp.access.callers import Access, Rights
from evi_mcp.hub import Hub
from evi_mcp.server.server import EviServer
from tests.harness import Agent, agent_on, service_behind, supervising
from tests.hub.rig import line

pytestmark = pytest.mark.anyio

MINE, THEIRS = "alpha-chat-0001", "bravo-chat-0002"


@asynccontextmanager
async def on_a_hub(rights: Rights | None = None) -> AsyncIterator[tuple[Hub, Agent]]:
    with anyio.fail_after(20):
        async with (
            Hub(None) as hub,
            supervising(connector=hub.connector, directory=hub.directory) as server,
            agent_on(EviServer(service_behind(server), rights)) as agent,
        ):
            yield hub, agent


def ids(page: dict[str, list[dict[str, str]]]) -> list[str]:
    return [chat["chat_id"] for chat in page.get("new_chats", [])]


@pytest.mark.parametrize("until", [[], [{"kind": "text", "contains": "never said"}]])
async def test_a_chat_that_begins_wakes_a_wait_over_all_chats_once(until: list[dict[str, str]]) -> None:
    """Also before any chat is attached; and who was told is not woken by it again."""
    async with on_a_hub() as (hub, agent):
        async with agent.waiting(until=until, timeout_s=10) as pages:
            await anyio.wait_all_tasks_blocked()
            hub.open_chat(chat_id=MINE).publish(line("Hello?", id="m-1"))
        [page] = pages
        assert (page["woken_by"], ids(page), page["events"]) == ("new_chat", [MINE], [])
        again = await agent.call("wait_for_events", after=page["cursor"], until=until, timeout_s=0.2)
        assert (again["woken_by"], ids(again)) == ("timeout", [])
        hub.open_chat(chat_id=THEIRS)
        assert ids(await agent.call("wait_for_events", after=again["cursor"], timeout_s=5)) == [THEIRS]
        text = await agent.text("wait_for_events", after="earliest", timeout_s=0)
        assert text.startswith("woken by new_chat") and f"new, not attached: {MINE}, {THEIRS}" in text


async def test_what_is_attached_or_over_is_no_news() -> None:
    """Nobody can attach to a chat that has ended, and an attached one is in the page itself."""
    async with on_a_hub() as (hub, agent):
        source = hub.open_chat(chat_id=MINE)
        hub.open_chat(chat_id=THEIRS)
        await agent.call("attach_chat", chat_id=THEIRS)
        source.end("hung up")
        page = await agent.call("wait_for_events", after="latest", timeout_s=0)
        page = await agent.call("wait_for_events", after="earliest", timeout_s=0)
        assert ids(page) == [] and page["woken_by"] == "event"


async def test_a_wait_on_named_chats_is_not_woken() -> None:
    """It asked for those."""
    async with on_a_hub() as (hub, agent):
        hub.open_chat(chat_id=MINE)
        cursor = (await agent.call("attach_chat", chat_id=MINE))["cursor"]
        async with agent.waiting(after=cursor, chat_ids=[MINE], timeout_s=0.3) as pages:
            await anyio.wait_all_tasks_blocked()
            hub.open_chat(chat_id=THEIRS)
        assert (pages[0]["woken_by"], ids(pages[0])) == ("timeout", [])


async def test_a_caller_hears_only_of_chats_that_it_may_see() -> None:
    """That a chat has begun somewhere is a trace of it."""
    async with on_a_hub(Rights(Access.BARGE, frozenset({MINE}))) as (hub, agent):
        async with agent.waiting(timeout_s=10) as pages:
            await anyio.wait_all_tasks_blocked()
            hub.open_chat(chat_id=THEIRS)
            await anyio.wait_all_tasks_blocked()
            assert not pages
            hub.open_chat(chat_id=MINE)
        assert ids(pages[0]) == [MINE] and THEIRS not in str(pages[0])


async def test_a_chat_that_nobody_can_attach_to_is_not_told() -> None:
    """Its bot did not allow it."""
    async with on_a_hub() as (hub, agent):
        hub.open_chat(chat_id=THEIRS, allow_connection=False)
        page = await agent.call("wait_for_events", after="earliest", timeout_s=0)
        assert (page["woken_by"], ids(page)) == ("timeout", [])


async def test_very_many_new_chats_fit_into_a_page() -> None:
    """Our contract (section 4): a page keeps its size, and counts what it does not name."""
    async with on_a_hub() as (hub, agent):
        for number in range(300):
            hub.open_chat(chat_id=f"chat-{number:0100}")
        for most in (500, 8000):
            page = await agent.call("wait_for_events", after="earliest", timeout_s=0, max_chars=most)
            assert len(ids(page)) + page["more_new_chats"] == 300
            text = await agent.text("wait_for_events", after="earliest", timeout_s=0, max_chars=most)
            assert len(text) <= most
