"""A proxy that cuts TCP connections, wherever they are in a frame, and may let none through for a while."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class CuttingProxy:
    """Stands before the service on `port`. Each connection is cut with RST after a number of bytes that `rng` picks,
    until `calm`."""

    def __init__(self, port: int, rng: random.Random, *, most_bytes: int = 40_000) -> None:
        self.base_url = ""
        self.cuts = 0
        self.calm = False
        self._port, self._rng, self._most_bytes = port, rng, most_bytes
        self._refusing = False
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    async def away(self, seconds: float) -> None:
        """Cuts everything, and lets nobody through for so long."""
        self._refusing = True
        for writer in list(self._open):
            self._cut(writer)
        await asyncio.sleep(seconds)
        self._refusing = False

    async def close(self) -> None:
        """Ends every connection."""
        tasks = list(self._open.values())
        for writer in list(self._open):
            writer.transport.abort()
        await asyncio.gather(*tasks)

    def _cut(self, writer: asyncio.StreamWriter) -> None:
        self.cuts += 1
        sock = writer.get_extra_info("socket")
        if sock is not None and not writer.is_closing():
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._open[writer] = task
        there: asyncio.StreamWriter | None = None
        try:
            if self._refusing:
                return
            from_there, there = await asyncio.open_connection("127.0.0.1", self._port)
            left = self._rng.randint(200, self._most_bytes)
            ways = [
                asyncio.create_task(self._pass_on(reader, there, writer, left)),
                asyncio.create_task(self._pass_on(from_there, writer, writer, left)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass
        finally:
            del self._open[writer]
            writer.close()
            if there is not None:
                there.transport.abort()

    async def _pass_on(
        self, reader: asyncio.StreamReader, to: asyncio.StreamWriter, client: asyncio.StreamWriter, left: int
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(1400):
                if len(data) >= left and not self.calm:
                    to.write(data[:left])
                    self._cut(client)
                    return
                left -= len(data)
                to.write(data)
                await to.drain()


@asynccontextmanager
async def cutting(port: int, rng: random.Random) -> AsyncIterator[CuttingProxy]:
    """Runs such a proxy."""
    proxy = CuttingProxy(port, rng)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0, backlog=512)
    proxy.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()
        await asyncio.sleep(0)  # what was aborted is closed with the next turn of the loop
