"""Simulated calls of OpenAI Realtime, attached to a hub of their own: what `serve --simulate=openai` serves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from pydantic import SecretStr

from evi_mcp.hub import Hub
from evi_mcp.openai_realtime.calls import RealtimeCalls
from evi_mcp.openai_realtime.endpoints import Endpoint
from evi_mcp.simulator.openai import OpenAISimulator

SCRIPTS = ("booking", "quiet", "support")


@asynccontextmanager
async def simulated_calls(speed: float = 1.0) -> AsyncIterator[str]:
    """The base URL of a hub on which the scripted calls are live, each attached to as soon as it begins.

    Args:
        speed: How many times faster than life they are.
    """
    async with (
        OpenAISimulator(speed=speed) as service,
        Hub("127.0.0.1") as hub,
        RealtimeCalls(hub, Endpoint(SecretStr("any"), service.base_url)) as calls,
        anyio.create_task_group() as group,
    ):
        all_there = anyio.Event()
        hub.on_chats_changed(lambda: all_there.set() if len(hub.chats.live_chats) == len(SCRIPTS) else None)
        service.on_started = calls.announce
        for script in SCRIPTS:
            group.start_soon(service.repeat, script)
        await all_there.wait()
        assert hub.base_url is not None
        yield hub.base_url
        group.cancel_scope.cancel()
