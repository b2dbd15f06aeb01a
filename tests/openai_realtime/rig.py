"""A simulated service, a hub and the calls that are attached to it, over real sockets."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import repeat
from typing import Any

import anyio
from pydantic import SecretStr

from evi_mcp.hub import Hub
from evi_mcp.openai_realtime.calls import RealtimeCalls
from evi_mcp.openai_realtime.endpoints import Endpoint
from evi_mcp.simulator.openai import OpenAISimulator
from tests.hub.wire import KEY as HUB_KEY
from tests.hub.wire import eventually

KEY = "sk-a-secret-key-of-openai"
Message = dict[str, Any]


class Rig:
    """All of it. `messages` are those of a chat, read by a consumer in memory."""

    def __init__(self, service: OpenAISimulator, hub: Hub, calls: RealtimeCalls) -> None:
        self.service, self.hub, self.calls = service, hub, calls

    async def attached(self, script: str | None = None, **options: Any) -> str:
        """Starts a call and attaches to it; its id."""
        call_id = self.service.start_call(script, **options)
        await self.calls.attach(call_id)
        return call_id

    async def supervise(self, call_id: str) -> "Supervisor":
        return Supervisor(await self.hub.connector.connect(call_id))

    async def ended(self, call_id: str) -> str:
        """Why a chat ended, once it has."""
        await eventually(lambda: self.hub.chats.live(call_id) is None)
        chat = self.hub.chats.get(call_id)
        assert chat is not None and chat.ending is not None
        return chat.ending.close.reason


class Supervisor:
    """A consumer of the chat."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.seen: list[Message] = []

    async def send(self, type_: str, /, **fields: Any) -> None:
        await self._transport.send(json.dumps({"type": type_, **fields}))

    async def until(self, type_: str, which: Callable[[Message], bool] = lambda _: True) -> Message:
        while True:
            self.seen.append(json.loads(await self._transport.receive()))
            if self.seen[-1]["type"] == type_ and which(self.seen[-1]):
                return self.seen[-1]


@asynccontextmanager
async def rig(*, key: str = KEY, speed: float = 20.0, delays: float = 0.02, **options: Any) -> AsyncIterator[Rig]:
    with anyio.fail_after(30):
        async with (
            OpenAISimulator(api_key=KEY, speed=speed, seed=1) as service,
            Hub("127.0.0.1", keys=[HUB_KEY]) as hub,
            RealtimeCalls(
                hub, Endpoint(SecretStr(key), service.base_url), delays=lambda: repeat(delays), **options
            ) as calls,
        ):
            yield Rig(service, hub, calls)
