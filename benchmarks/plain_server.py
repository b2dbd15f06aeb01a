"""The plainest server that one would write by hand: one chat, Hume's SDK, a list, and a tool to poll it."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from hume.empathic_voice.control_plane.socket_client import AsyncControlPlaneSocketClient
from mcp.server import MCPServer
from websockets.asyncio.client import connect

events: list[Any] = []


async def follow() -> None:
    """Receives, parses, appends."""
    uri = os.environ["EVI_MCP_BASE_URL"].replace("http", "ws", 1) + "/v0/evi/chat/plain/connect"
    async with connect(uri, max_size=None, compression=None, proxy=None) as socket:
        client = AsyncControlPlaneSocketClient(websocket=socket)
        while True:
            events.append(await client.recv())


@asynccontextmanager
async def lifespan(_: MCPServer[None]) -> AsyncIterator[None]:
    """Follows the chat for as long as the server runs."""
    following = asyncio.create_task(follow())
    yield None
    following.cancel()


server: MCPServer[None] = MCPServer("plain", lifespan=lifespan, log_level="WARNING")


@server.tool()
async def get_events(after: int) -> list[dict[str, Any]]:
    """Get the events after the first so many."""
    return [event.model_dump(mode="json") for event in events[after:]]


if __name__ == "__main__":
    server.run("stdio")
