"""Calls of OpenAI Realtime on a hub: those of the service that the settings name, or simulated ones."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from pydantic import SecretStr

from evi_mcp.config import Settings
from evi_mcp.hub import Hub
from evi_mcp.openai_realtime.calls import RealtimeCalls
from evi_mcp.openai_realtime.endpoints import CALL_IDS, Endpoint
from evi_mcp.openai_realtime.intake import add_intake
from evi_mcp.simulator.openai import OpenAISimulator
from evi_mcp.upstream.beside import ConnectorBeside, DirectoryBeside
from evi_mcp.upstream.rest import RestClient
from evi_mcp.upstream.transport import Connector
from evi_mcp.upstream.websocket import WebSocketConnector

SCRIPTS = ("booking", "quiet", "support")


def calls_on(hub: Hub, key: SecretStr, settings: Settings) -> RealtimeCalls:
    """The calls of the service, and the addresses at which they are announced.

    Args:
        hub: Not entered yet. It is entered first, and left last.
        key: `OPENAI_API_KEY`.
        settings: Name the service, and the secret of its webhook.
    """
    calls = RealtimeCalls(hub, Endpoint(key, settings.openai_base_url))
    add_intake(hub, calls, settings.openai_webhook_secret)
    return calls


@asynccontextmanager
async def beside_evi(
    settings: Settings, hub: Hub, calls: Connector
) -> AsyncIterator[tuple[ConnectorBeside, DirectoryBeside]]:
    """The way to the calls and to the chats of EVI, where there is a key for each.

    Args:
        settings: With `HUME_API_KEY`.
        hub: Where the calls are.
        calls: The way to them.
    """
    assert settings.hume_api_key is not None
    rest = RestClient(settings.base_url, settings.hume_api_key, settings.mask)
    evi = WebSocketConnector(settings.base_url, settings.hume_api_key, rest)

    def is_call(chat_id: str) -> bool:
        return hub.chats.get(chat_id) is not None or chat_id.startswith(CALL_IDS)

    try:
        yield ConnectorBeside(is_call, calls, evi), DirectoryBeside(hub.directory, rest)
    finally:
        await rest.aclose()


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
