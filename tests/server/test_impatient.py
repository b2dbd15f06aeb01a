"""Clients that give up without a word, which most do: what their next call shows, and what comes of it."""

import gc
import weakref
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from evi_mcp.supervision.registry import ChatRegistry
from evi_mcp.upstream.memory import MemoryConnector
from tests import frames
from tests.clocks import HandClock, settle
from tests.harness import CHAT, Agent, agent_on, service_behind, supervising

pytestmark = pytest.mark.anyio

GIVEN_UP = "your client seems to give up after"


class Waiting:
    """An agent with its clock, whose calls the test lets go on beside each other."""

    def __init__(self, agent: Agent, clock: HandClock, connector: MemoryConnector, group: anyio.abc.TaskGroup) -> None:
        self.agent, self.clock, self._connector, self._group = agent, clock, connector, group
        self.cursor = ""
        self.registry: ChatRegistry

    async def asks(self, **arguments: Any) -> list[str]:
        """Calls `wait_for_events`; the text of its answer is in the list when there is one."""
        answers: list[str] = []

        async def call() -> None:
            answers.append(await self.agent.text("wait_for_events", after=self.cursor, timeout_s=50, **arguments))

        self._group.start_soon(call)
        await settle()
        return answers

    async def said(self, *made: str) -> None:
        """The chat goes on."""
        for frame in made:
            self._connector.connections[CHAT][-1].push(frame)
        await settle()


@pytest.fixture
async def waiting() -> AsyncIterator[Waiting]:
    clock, connector = HandClock(), MemoryConnector((frames.metadata(),))
    async with (
        supervising(connector=connector, clock=clock) as server,
        agent_on(server) as agent,
        anyio.create_task_group() as group,
    ):
        here = Waiting(agent, clock, connector, group)
        attached: list[Any] = []

        async def attach() -> None:
            attached.append(await agent.text("attach_chat", chat_id=CHAT))

        group.start_soon(attach)
        await clock.advance(10)
        cursors = service_behind(server).registry.house.ledger.cursors
        here.registry = service_behind(server).registry
        here.cursor = cursors.at(cursors.last_seq)
        yield here
        group.cancel_scope.cancel()


async def test_a_call_that_is_made_again_while_it_waits_is_answered_in_time_from_then_on(waiting: Waiting) -> None:
    """The client gave up after 5 s, its model thought for 2 s. Without this it would do so for ever."""
    first = await waiting.asks(types=["user_message"])
    await waiting.clock.advance(7)
    assert first == []
    second = await waiting.asks(types=["user_message"])
    assert first != [] and GIVEN_UP not in first[0], "nobody waits for it any more, so it is ended"
    await waiting.clock.advance(3.9)
    assert second == []
    await waiting.clock.advance(0.2)
    assert f"ended after 4 s: {GIVEN_UP} 5 s" in second[0]
    third = await waiting.asks(types=["user_message"])
    await waiting.clock.advance(1)
    await waiting.said(frames.user("Hello?", 100))
    assert "Hello?" in third[0] and GIVEN_UP not in third[0]


async def test_a_call_from_a_cursor_whose_answer_was_not_read_is_too(waiting: Waiting) -> None:
    """It was answered after the client had given up, and the client asks again from where it stood: it gets at once
    what it has missed, and the next wait is shorter."""
    await waiting.asks(types=["user_message"])
    await waiting.clock.advance(12)
    await waiting.said(frames.user("Hello?", 100))
    again = await waiting.asks(types=["user_message"])
    assert "Hello?" in again[0]
    waiting.cursor = "latest"
    later = await waiting.asks(types=["user_message"])
    await waiting.clock.advance(8.1)
    assert f"{GIVEN_UP} 10 s" in later[0]


async def test_an_agent_that_waits_in_two_ways_at_once_is_not_thought_impatient(waiting: Waiting) -> None:
    """Its client waits for both answers."""
    one = await waiting.asks(types=["user_message"])
    await waiting.clock.advance(20)
    other = await waiting.asks(until=[{"kind": "turn_end"}])
    await waiting.clock.advance(29)
    assert (one, other) == ([], [])
    await waiting.clock.advance(21)
    assert GIVEN_UP not in one[0] and GIVEN_UP not in other[0]


async def test_what_has_waited_keeps_no_chat_that_is_gone(waiting: Waiting) -> None:
    """A chat keeps up to 64 MiB. What is known of its callers must not keep it after it was detached."""
    await waiting.asks(chat_ids=[CHAT], until=[{"kind": "silence", "seconds": 5}])
    await waiting.clock.advance(6)
    chat = weakref.ref(waiting.registry.find(CHAT) or object())
    assert chat() is not None
    await waiting.agent.text("detach_chat", chat_id=CHAT)
    await waiting.clock.advance(60)
    gc.collect()
    assert chat() is None
