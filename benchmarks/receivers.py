"""The loops that ingest is measured against: each receives a chat, and says when the last word has come.

`bare` only receives, `json` also parses, `sdk` receives through Hume's SDK, which makes models. All open the socket as
evi-mcp does, and keep nothing of what they get.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

LAST = "user_interruption"


async def bare(socket: ClientConnection) -> bool:
    """Receives a frame; whether it is the last word."""
    frame = await socket.recv()
    return len(frame) < 100 and LAST in str(frame)


async def parsed(socket: ClientConnection) -> bool:
    """The same, parsed."""
    message: Any = json.loads(await socket.recv())
    return bool(message["type"] == LAST)


def sdk(socket: ClientConnection) -> Callable[[ClientConnection], Awaitable[bool]]:
    """The same with Hume's SDK."""
    from hume.empathic_voice.control_plane.socket_client import AsyncControlPlaneSocketClient

    client = AsyncControlPlaneSocketClient(websocket=socket)

    async def receive(_: ClientConnection) -> bool:
        message = await client.recv()
        return getattr(message, "type", None) == LAST

    return receive


async def main(kind: str, base_url: str) -> None:
    """Receives for ever."""
    uri = f"ws{base_url.removeprefix('http')}/v0/evi/chat/{kind}/connect"
    async with connect(uri, max_size=2**24, compression=None, proxy=None) as socket:
        receive = sdk(socket) if kind == "sdk" else {"bare": bare, "json": parsed}[kind]
        await receive(socket)
        print("{}", flush=True)  # connected
        while True:
            while not await receive(socket):
                pass
            print("{}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
