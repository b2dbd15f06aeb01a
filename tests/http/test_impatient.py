"""A client over HTTP that gives up: the request that it closes is all that is heard of it."""

from collections.abc import Callable

import anyio
import pytest

from evi_mcp.upstream.memory import MemoryConnector
from tests import frames, harness
from tests.clocks import HandClock
from tests.harness import CHAT, Agent, agent_on, service_behind, supervising
from tests.http.rig import over_http, until

pytestmark = pytest.mark.anyio

GIVEN_UP = "your client seems to give up after"


async def test_a_request_that_is_closed_after_a_while_makes_the_next_waits_shorter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MCP 2026-07-28: to close the response is to cancel. And of two agents without a token, who ask the same, none is
    taken for one that asks again."""
    monkeypatch.setattr(harness, "reach", over_http)
    clock, connector = HandClock(), MemoryConnector((frames.metadata(),))
    answers: dict[str, str] = {}

    async def wait(name: str, agent: Agent, task_status: anyio.abc.TaskStatus[anyio.CancelScope]) -> None:
        with anyio.CancelScope() as scope:
            task_status.started(scope)
            answers[name] = await agent.text("wait_for_events", types=["user_message"], timeout_s=50)

    async def passing(condition: Callable[[], object]) -> None:
        while not condition():
            await clock.advance(0.5)
            await anyio.sleep(0.01)  # for the sockets, whose time is another one

    with anyio.fail_after(60):
        async with (
            supervising(connector=connector, clock=clock) as server,
            agent_on(server) as agent,
            anyio.create_task_group() as group,
        ):
            waits = service_behind(server).registry.waits

            async def attach() -> None:
                answers["attached"] = await agent.text("attach_chat", chat_id=CHAT)

            group.start_soon(attach)
            await passing(lambda: "attached" in answers)
            one = await group.start(wait, "one", agent)
            await until(lambda: waits.count == 1)
            await clock.advance(20)
            await group.start(wait, "other", agent)
            await until(lambda: waits.count == 2)
            one.cancel()
            await until(lambda: waits.count == 1)
            assert "other" not in answers, "it waits on"
            began = clock.elapsed()
            await group.start(wait, "next", agent)
            await until(lambda: waits.count == 2)
            await passing(lambda: "next" in answers)
            assert f"ended after 16 s: {GIVEN_UP} 20 s" in answers["next"]
            assert clock.elapsed() - began < 50
            await passing(lambda: "other" in answers)
            assert GIVEN_UP not in answers["other"], "it was asked for before anything was known"
