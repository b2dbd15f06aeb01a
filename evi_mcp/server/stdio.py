"""MCP over stdin and stdout: clean until the last byte, and gone in time when told to go, with every chat resumed.

How the process ends, whoever wants it: the chats are left first (paused ones resumed, sockets closed with 1000), then
what is asked gets its last answers, then the process goes. `evi_mcp.ending` keeps the time.
"""

import gc
import logging

import anyio

from evi_mcp import logs
from evi_mcp.config import Settings
from evi_mcp.ending import Ending
from evi_mcp.server import sdk
from evi_mcp.server.pipes import open_stdin, open_stdout
from evi_mcp.server.server import EviServer
from evi_mcp.supervision.service import open_service
from evi_mcp.upstream.directory import Directory
from evi_mcp.upstream.transport import Connector

GRACE_S = 0.2
"""What was asked before stdin ended may still be done so long, before the chats are left."""
LAST_ANSWERS_S = 0.1
"""How long a client has to take its last answers, once the chats are left."""
GC_THRESHOLDS = 1_000, 10, 1_000
"""Hardly anything here is a cycle, while a pass over all that is kept of 1,000 chats stops everybody for 0.2 s. So
these are rare, and the passes over what is young are short: of 10,000 objects, some 4 ms."""

_log = logging.getLogger(__name__)


async def serve(settings: Settings, connector: Connector | None = None, directory: Directory | None = None) -> int:
    """Serves until stdin ends, stdout breaks, or a signal comes; the exit status.

    Args:
        connector, directory: As for `open_service`.
    """
    told, served = anyio.Event(), anyio.Event()
    end = Ending(told.set)
    end.catch_signals()
    async with open_service(settings, connector, directory) as service, anyio.create_task_group() as group:
        sdk.leave_log_alone()
        server = EviServer(service)
        stdin = await open_stdin(lambda: end.begin(0, "stdin has ended"))
        stdout = await open_stdout(lambda: end.begin(0, "the client has gone"))
        logs.take_strays(settings.mask)

        async def leave() -> None:
            await told.wait()
            _log.info("%s, closing", end.reason)
            if end.status == 0:
                with anyio.move_on_after(GRACE_S):
                    await served.wait()
            with anyio.CancelScope(shield=True):  # whatever else fails now, no caller is left with a mute assistant
                await service.registry.stop()
            stdin.end()
            with anyio.move_on_after(LAST_ANSWERS_S):
                await served.wait()
            group.cancel_scope.cancel()

        group.start_soon(leave)
        # What start-up has made stays for good: no pass has to look at it again.
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        gc.enable()
        try:
            await sdk.run_on_stdio(server, stdin, stdout)
        except Exception:
            end.begin(1, "the server has failed")
            raise
        end.begin(0, "stdin has ended")
        served.set()
    return end.status or 0
