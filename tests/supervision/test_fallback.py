"""The fallback: an error for calls that nobody answers, and never one over an answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from evi_mcp.chat.tool_calls import Answerer
from evi_mcp.supervision.fallback import answer_after
from evi_mcp.supervision.feed import Feed, Scope
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.upstream.memory import MemoryConnector, MemoryTransport
from tests import frames
from tests.clocks import HandClock, settle
from tests.supervision.following import FailsOn, Handing, following

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def supervised(*history: str) -> AsyncIterator[tuple[HandClock, LiveChat, MemoryTransport]]:
    """A live chat whose calls get an error after 10 s."""
    clock, connector = HandClock(), MemoryConnector((frames.metadata(), *history))
    async with following(connector, clock=clock) as registry:
        feed = Feed(Scope(registry, lambda _: True), {"tool_call"})
        registry.start(answer_after, feed, registry.find, clock, 10.0)
        async with anyio.create_task_group() as group:
            group.start_soon(registry.attach, "c")
            await clock.advance(9)
        yield clock, registry.get("c"), connector.connections["c"][0]


async def push(transport: MemoryTransport, *made: str) -> None:
    for frame in made:
        transport.push(frame)
    await settle()


async def test_a_call_that_nobody_answers_gets_an_error_in_time() -> None:
    """No caller is left waiting."""
    async with supervised() as (clock, chat, transport):
        await push(transport, frames.tool_call("call_1"))
        await clock.advance(9.9)
        assert transport.sent == []
        await clock.advance(0.2)
        assert len(transport.sent) == 1 and '"tool_call_id":"call_1"' in transport.sent[0]
        [call] = chat.record.tool_calls
        assert call.answered_by == Answerer("tool call fallback", "server")


async def test_a_call_after_which_evi_went_on_gets_none() -> None:
    """EVI speaks the answer of the chat's own client already: an error now makes it apologise for what it just did."""
    async with supervised() as (clock, _, transport):
        await push(transport, frames.tool_call("call_1"), frames.assistant("It is in Lyon.", "m-1"))
        await clock.advance(60)
        assert transport.sent == []


async def test_a_quick_reply_is_no_answer() -> None:
    """EVI says "hm" while it waits."""
    async with supervised() as (clock, _, transport):
        await push(transport, frames.tool_call("call_1"), frames.assistant("Hm.", "m-1", quick=True))
        await clock.advance(11)
        assert len(transport.sent) == 1


async def test_each_call_of_one_id_gets_its_own() -> None:
    """Some providers use an id again."""
    async with supervised() as (clock, _, transport):
        await push(transport, frames.tool_call("call_0"))
        await clock.advance(11)
        await push(transport, frames.user("again", 5000), frames.tool_call("call_0"))
        await clock.advance(11)
        assert len(transport.sent) == 2


async def test_nothing_is_answered_while_the_history_is_still_coming() -> None:
    """The call may have been answered long ago."""
    async with supervised() as (clock, chat, transport):
        await push(transport, frames.tool_call("call_1"))
        chat.record.catching_up = True
        await clock.advance(60)
        assert transport.sent == []
        await push(transport, frames.tool_response("call_1"))
        chat.caught_up()
        await clock.advance(60)
        assert transport.sent == []


async def test_a_fault_of_ours_in_one_fallback_is_not_the_end_of_the_others() -> None:
    """It ended the fallbacks of all chats."""
    clock = HandClock()
    broken, well = (FailsOn(kind, first=(frames.metadata(),)) for kind in ("tool_error", "nothing"))
    async with following(Handing(broken, well), clock=clock) as registry:
        feed = Feed(Scope(registry, lambda _: True), {"tool_call"})
        registry.start(answer_after, feed, registry.find, clock, 10.0)
        for chat_id in ("well", "broken"):
            async with anyio.create_task_group() as group:
                group.start_soon(registry.attach, chat_id)
                await clock.advance(9)
        await push(broken, frames.tool_call("call_1"))
        await clock.advance(5)
        await push(well, frames.tool_call("call_2"))
        await clock.advance(11)
        assert broken.sent == [] and len(well.sent) == 1
