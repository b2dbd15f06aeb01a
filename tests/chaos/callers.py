"""Many calls at once on one stdio connection, by hand: a client library would take longer than what is measured."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.process.conftest import Process


class Callers:
    """Calls of tools, each answered when its answer comes; one that is cancelled is called off at the server, too."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._ids = itertools.count(100_000)
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    async def call(self, tool: str, **arguments: Any) -> Any:
        """The structured result of a tool."""
        number, answer = next(self._ids), asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._process.ask(number, tool, **arguments)
        try:
            result = (await answer)["result"]
        except asyncio.CancelledError:
            cancelled = {"method": "notifications/cancelled", "params": {"requestId": number}}
            self._process.write(json.dumps({"jsonrpc": "2.0", **cancelled}))
            raise
        finally:
            del self._waiting[number]
        assert not result.get("isError"), result
        return result["structuredContent"]

    async def read(self) -> None:
        """Takes in answers, for as long as the process gives any."""
        try:
            while True:
                answer = await self._process.read()
                waiting = self._waiting.get(answer.get("id"))
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)
        except ValueError:  # no JSON: there was no line any more
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ChildProcessError("the server has ended"))


@asynccontextmanager
async def talking(process: Process) -> AsyncIterator[Callers]:
    """Callers of a process that was greeted already."""
    callers = Callers(process)
    reading = asyncio.create_task(callers.read())
    try:
        yield callers
    finally:
        reading.cancel()
