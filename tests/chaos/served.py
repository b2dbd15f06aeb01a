"""`evi-mcp serve` as a real process, with quicker pings, and with word of what it holds on demand.

Run as a module it is that process: nothing but two constants differs from the console script, and SIGUSR1 writes how
many asyncio tasks, and blocks of Python's memory, there are to stderr.
"""

import asyncio
import gc
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from evi_mcp.cli import main as cli
from evi_mcp.server import stdio
from evi_mcp.upstream import websocket
from tests.fake_evi import KEY

PING_S = 2.0


def parameters(base_url: str, **environment: str) -> StdioServerParameters:
    """How to start it."""
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "tests.chaos.served"],
        env={
            "EVI_MCP_BASE_URL": base_url,
            "HUME_API_KEY": KEY,
            "EVI_MCP_LOG_LEVEL": "ERROR",
            "EVI_MCP_RESULTS": "both",
            **environment,
        },
    )


@asynccontextmanager
async def served(base_url: str) -> AsyncIterator[Client]:
    """A client of a process of its own."""
    async with Client(stdio_client(parameters(base_url))) as client:
        yield client


def main() -> None:
    serve = stdio.serve

    async def watched(*args: object) -> int:
        def tell() -> None:
            gc.collect()
            sys.stderr.write(f"holds {len(asyncio.all_tasks())} {sys.getallocatedblocks()}\n")
            sys.stderr.flush()

        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, tell)
        return await serve(*args)  # type: ignore[arg-type]  # passed on as they came

    websocket.PING_INTERVAL_S = websocket.PING_TIMEOUT_S = PING_S
    stdio.serve = watched  # type: ignore[assignment]  # the seam is the name
    cli.main(["serve"])


if __name__ == "__main__":
    main()
