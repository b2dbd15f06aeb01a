"""One socket never holds up the others, whatever it sends or is sent."""

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from starlette.websockets import WebSocket

from evi_mcp.clock import SystemClock
from evi_mcp.hub.consumers import Consumer
from evi_mcp.hub.sockets import Socket

pytestmark = pytest.mark.anyio

A_GREAT_MANY = 200_000


async def test_a_peer_that_is_never_out_of_frames_leaves_the_others_their_turn() -> None:
    """Frames that are here already are received without waiting: without a break all of them would be taken in."""
    turns = received = 0

    async def receive() -> dict[str, Any]:
        nonlocal received
        received += 1
        if turns > 10 or received > A_GREAT_MANY:
            return {"type": "websocket.disconnect", "code": 1000}
        return {"type": "websocket.connect"} if received == 1 else {"type": "websocket.receive", "text": "{}"}

    async def send(message: Any) -> None:
        pass

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        socket = await Socket.accept(_websocket(receive, send), SystemClock())
        group.start_soon(others)
        await socket.serve(Consumer(b"{}"), lambda frame: None)
        group.cancel_scope.cancel()
    assert received < A_GREAT_MANY


async def test_a_long_replay_leaves_the_others_their_turn() -> None:
    """Writing does not wait, as long as the system takes it."""
    turns = 0
    turns_at_the_end: list[int] = []

    async def receive() -> dict[str, Any]:
        if not accepted:
            accepted.append(True)
            return {"type": "websocket.connect"}
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Any) -> None:
        if message.get("text") == '"last"':
            turns_at_the_end.append(turns)
            group.cancel_scope.cancel()

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    accepted: list[bool] = []
    async with anyio.create_task_group() as group:
        socket = await Socket.accept(_websocket(receive, send), SystemClock())
        group.start_soon(others)
        await socket.serve(Consumer(b"{}", [*[b"{}"] * 10_000, b'"last"']), lambda frame: None)
    assert turns_at_the_end[0] > 100


def _websocket(receive: Any, send: Any) -> WebSocket:
    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b"", "extensions": {}}
    return WebSocket(scope, receive, send)
