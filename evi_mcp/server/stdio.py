"""MCP over stdin and stdout: clean until the last byte, and gone in well under 2 s when told to go.

Where they are pipes, the event loop reads and writes them (`pipes`). Elsewhere (a terminal, a file, Windows) the SDK
does, in threads that nothing can interrupt, and the process ends itself after cleaning up.
"""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn

import anyio

from evi_mcp.config import Settings
from evi_mcp.server import sdk
from evi_mcp.server.pipes import open_stdin, open_stdout
from evi_mcp.server.server import EviServer
from evi_mcp.supervision.service import open_service

LAST_RESORT_S = 1.9
GC_THRESHOLDS = 1_000, 10, 1_000
"""Hardly anything here is a cycle, while a pass over all that is kept of 1,000 chats stops everybody for 0.2 s. So
these are rare, and the passes over what is young are short: of 10,000 objects, some 4 ms."""

_log = logging.getLogger(__name__)


async def serve(settings: Settings) -> int:
    """Serves until stdin ends or a signal comes; the exit status."""
    status = 0
    async with open_service(settings) as service, anyio.create_task_group() as group:
        server = EviServer(service)

        async def end_on_signal() -> None:
            nonlocal status
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
                async for signum in received:
                    status = 128 + signum
                    _last_resort(status)
                    _log.info("%s received, closing", signal.Signals(signum).name)
                    await service.registry.stop()
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
                group.start_soon(service.registry.stop)

        stdin = await open_stdin(on_eof)
        if sys.platform != "win32":
            group.start_soon(end_on_signal)
        # What start-up has made stays for good: no pass has to look at it again.
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        gc.enable()
        try:
            await sdk.run_on_stdio(server, stdin, await open_stdout())
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
