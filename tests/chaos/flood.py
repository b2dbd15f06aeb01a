"""A service of its own process with one chat that never stops: 10,000 events a second, as far as anyone takes them.

`python -m tests.chaos.flood` writes its port to stdout. The other chats say little, and each word carries the time at
which it was said (`time.monotonic`, which all processes of one machine share), so that a reader knows how late it is.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests import frames
from tests.chaos.truth import Truth, telling

RATE = 10_000
BURSTS = 1000
BUSY = "busy"
QUIET = tuple(f"quiet-{number}" for number in range(5))
START = "flood"
"""Somebody says this in the busy chat, and it begins."""


async def _flood(truth: Truth) -> None:
    """`RATE` events a second in the busy chat, in bursts so short that the other chats hardly wait for them."""
    talk, number = truth.chats[BUSY], 0
    while not any(command.get("text") == START for command in talk.commands):
        await truth.news(BUSY)
    next_at = time.monotonic()
    while True:
        made = [frames.user(f"word {number + n}", (number + n) * 10) for n in range(RATE // BURSTS)]
        number += len(made)
        truth.happen(BUSY, *made)
        next_at += 1 / BURSTS
        await asyncio.sleep(max(0, next_at - time.monotonic()))


async def _murmur(truth: Truth, chat_id: str) -> None:
    number = 0
    while True:
        await asyncio.sleep(0.3)
        number += 1
        truth.happen(chat_id, frames.user(f"{time.monotonic()}", number))


async def _serve() -> None:
    async with telling(Truth("flood", (BUSY, *QUIET))) as truth, asyncio.TaskGroup() as group:
        asyncio.get_running_loop().add_reader(0, os._exit, 0)  # who started it has gone
        print(truth.port, flush=True)
        group.create_task(_flood(truth))
        for chat_id in QUIET:
            group.create_task(_murmur(truth, chat_id))


@asynccontextmanager
async def flooding() -> AsyncIterator[str]:
    """Runs it; its base URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.chaos.flood", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]  # else its pipes outlive the loop


if __name__ == "__main__":
    asyncio.run(_serve())
