"""MCP over stdin and stdout: clean until the last byte, and gone in well under 2 s when told to go.

The SDK's own reader is a thread that nothing can interrupt (python-sdk #3551): after a signal the process would
clean up and then sit there until its client closes stdin. On pipes and sockets stdin is therefore read by the event
loop; elsewhere (a terminal, a file, Windows) the SDK reads it, and the process ends itself after cleaning up.
"""

import asyncio
import logging
import os
import signal
import stat
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import anyio

from evi_mcp.app import open_app
from evi_mcp.config import Settings
from evi_mcp.server import sdk
from evi_mcp.server.server import EviServer

MAX_LINE_BYTES = 16 * 2**20
"""The longest line accepted on stdin; a longer one is answered as garbage is."""
LAST_RESORT_S = 1.9

_log = logging.getLogger(__name__)


class _Reader(asyncio.StreamReader):
    """Says at once when the client has closed stdin, be there ever so many lines of it still to be read."""

    def __init__(self, on_eof: Callable[[], None]) -> None:
        super().__init__(limit=MAX_LINE_BYTES)
        self._on_eof = on_eof

    def feed_eof(self) -> None:
        super().feed_eof()
        self._on_eof()


class _Lines:
    """Lines of stdin, as the SDK wants them."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def __aiter__(self) -> "_Lines":
        return self

    async def __anext__(self) -> str:
        try:
            line = await self._reader.readline()
        except ValueError:
            _log.warning("a line on stdin is longer than %d bytes and is ignored", MAX_LINE_BYTES)
            return "a line too long to be read\n"  # no JSON, so the SDK answers with a parse error and goes on
        except OSError:
            line = b""
        if not line:
            raise StopAsyncIteration
        if not line.lstrip().startswith((b"{", b"[")):
            _log.warning("a line on stdin is not JSON-RPC and is ignored (%d bytes)", len(line))
        return line.decode("utf-8", errors="replace")


async def _open_stdin(on_eof: Callable[[], None]) -> _Lines | None:
    """A cancellable stdin, or `None` where there is no such thing. `on_eof` is called when the client closes it."""
    mode = os.fstat(0).st_mode
    if sys.platform == "win32" or not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return None
    reader = _Reader(on_eof)
    pipe = os.fdopen(os.dup(0), "rb", 0)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return _Lines(reader)


async def serve(settings: Settings) -> int:
    """Serves until stdin ends or a signal comes; the exit status."""
    status = 0
    async with open_app(settings) as app, anyio.create_task_group() as group:
        server = EviServer(app)

        async def end_on_signal() -> None:
            nonlocal status
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
                async for signum in received:
                    status = 128 + signum
                    _last_resort(status)
                    _log.info("%s received, closing", signal.Signals(signum).name)
                    await app.registry.stop()
                    if stdin is None:
                        _end_now(status)  # the SDK's reader cannot be stopped, and holds nothing that needs closing
                    group.cancel_scope.cancel()
                    return

        def on_eof() -> None:
            # What was asked before may still be done. But neither a call that goes on nor a client that does not read
            # its answer may hold the chats, and clients wait for 2 s only before they kill.
            _last_resort(status)
            asyncio.get_running_loop().call_later(LAST_RESORT_S / 2, stop_following)

        def stop_following() -> None:
            if not group.cancel_scope.cancel_called:
                group.start_soon(app.registry.stop)

        stdin = await _open_stdin(on_eof)
        if sys.platform != "win32":
            group.start_soon(end_on_signal)
        try:
            await sdk.run_on_stdio(server, stdin)
        except* (BrokenPipeError, ConnectionResetError):
            _log.info("the client has gone")
        _last_resort(status)
        group.cancel_scope.cancel()
    return status


def _last_resort(status: int) -> None:
    """Ends the process even if a thread of the SDK's still sits on stdin or on a stdout that nobody reads."""
    asyncio.get_running_loop().call_later(LAST_RESORT_S, _end_now, status)


def _end_now(status: int) -> NoReturn:
    logging.shutdown()
    sys.stderr.flush()
    os._exit(status)


def run(serving: Coroutine[Any, Any, int]) -> NoReturn:
    """Runs `serve`, or what is wrapped around it, and ends the process, whatever threads are left."""
    _end_now(asyncio.run(serving))
