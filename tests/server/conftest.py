"""Fixtures of the tests that go the whole way, from a WebSocket frame to a tool result and back."""

from collections.abc import AsyncIterator

import anyio
import pytest

from tests import frames
from tests.fake_evi import FakeEvi, fake_evi
from tests.harness import CHAT, Agent, agent_on, supervising


@pytest.fixture(params=["auto", "legacy"])
def era(request: pytest.FixtureRequest) -> str:
    """Both protocol eras: 2026-07-28, and the handshake ones before it."""
    return str(request.param)


@pytest.fixture
async def evi() -> AsyncIterator[FakeEvi]:
    async with fake_evi() as service:
        yield service


@pytest.fixture
async def agent(evi: FakeEvi) -> AsyncIterator[Agent]:
    with anyio.fail_after(30):
        async with supervising(evi) as server, agent_on(server) as agent:
            yield agent


@pytest.fixture
async def live(evi: FakeEvi, agent: Agent) -> str:
    """An attached chat; the cursor after its history."""
    evi.history[CHAT] = [frames.metadata(), frames.user("Hello?", 100), frames.tool_call("call_1")]
    return str((await agent.call("attach_chat", chat_id=CHAT))["cursor"])
