"""The sidebands of a simulated call: every one is sent every event, and may send client events."""

import json
from collections import deque
from collections.abc import Callable, Iterator

import anyio
from starlette.websockets import WebSocket, WebSocketDisconnect

from evi_mcp.simulator.openai.call import RealtimeCall
from evi_mcp.simulator.openai.wire import Object

MAX_WAITING = 10_000
"""Events that may wait for a socket; one that does not read is closed."""


class _Socket:
    """One sideband: what it still has to be sent."""

    def __init__(self) -> None:
        self.waiting: deque[Object] = deque()
        self.close: tuple[int, str] | None = None
        self.news = anyio.Event()

    def push(self, event: Object) -> None:
        self.waiting.append(event)
        if len(self.waiting) > MAX_WAITING:
            self.close = (1008, "too many events were not read")
        self.tell()

    def end(self, code: int) -> None:
        self.close = (code, "")
        self.tell()

    def tell(self) -> None:
        news, self.news = self.news, anyio.Event()
        news.set()


class ServedCall:
    """A call and its sidebands. `call` is set by whoever makes it."""

    call: RealtimeCall

    def __init__(self) -> None:
        self.sockets: list[_Socket] = []
        self.changed = anyio.Event()
        self._gaps: Iterator[int] = iter(())
        self._until_cut: int | None = None

    def push(self, event: Object) -> None:
        """Sends an event on all sidebands."""
        for socket in self.sockets:
            socket.push(event)
        if self.sockets and self._until_cut is not None:
            self._until_cut -= 1
            if self._until_cut <= 0:
                self.cut(1011)
                self._until_cut = next(self._gaps, None)

    def cut_after(self, gaps: Iterator[int]) -> None:
        """Closes all sidebands after so many events, and again; an event that nobody is sent does not count."""
        self._gaps = gaps
        self._until_cut = next(gaps, None)

    def wake(self) -> None:
        """Something was done to the call: whoever plays it looks again when the next thing is due."""
        changed, self.changed = self.changed, anyio.Event()
        changed.set()

    def cut(self, code: int) -> None:
        """Closes all sidebands at once; what was not sent yet never is."""
        for socket in self.sockets:
            socket.waiting.clear()
            socket.end(code)
        self.sockets.clear()

    def end(self) -> None:
        """The call is over: the sidebands are closed behind what they still have to be sent."""
        for socket in self.sockets:
            socket.end(1000)
        self.wake()

    async def serve(self, websocket: WebSocket, take: Callable[["ServedCall", Object], Object | None]) -> None:
        """Accepts a sideband and carries it until either side closes it.

        Args:
            websocket: Not accepted yet.
            take: Takes each client event; what it returns is sent on this sideband alone.
        """
        await websocket.accept()
        socket = _Socket()
        socket.push(self.call.greeting())
        self.sockets.append(socket)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._write, websocket, socket)
                await self._read(websocket, socket, take)
                group.cancel_scope.cancel()
        finally:
            if socket in self.sockets:
                self.sockets.remove(socket)

    async def _read(
        self, websocket: WebSocket, socket: _Socket, take: Callable[["ServedCall", Object], Object | None]
    ) -> None:
        try:
            while True:
                error = take(self, json.loads(await websocket.receive_text()))
                if error is not None:
                    socket.push(error)
                self.wake()
        except (WebSocketDisconnect, KeyError, ValueError):
            return

    async def _write(self, websocket: WebSocket, socket: _Socket) -> None:
        while True:
            while socket.waiting:
                await websocket.send_text(json.dumps(socket.waiting.popleft()))
            if socket.close is not None:
                await websocket.close(*socket.close)
                return
            await socket.news.wait()
