"""Requests and answers over lines, without a process: how much waits where a client does not read."""

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import anyio
import pytest

from evi_mcp.server import sdk
from evi_mcp.upstream.memory import MemoryConnector
from tests import frames
from tests.clocks import settle
from tests.harness import CHAT, supervising

pytestmark = pytest.mark.anyio

INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "by-hand", "version": "1"},
}


def request(id: int, method: str, **params: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode()


class Client:
    """Asks as fast as it can, and reads when the test lets it."""

    def __init__(self) -> None:
        self.send, self._asked = anyio.create_memory_object_stream[bytes](10_000)
        self.taken = 0
        self.answers: list[dict[str, object]] = []
        self.reads = anyio.Event()
        self.ask(request(0, "initialize", **INITIALIZE))

    def ask(self, *lines: bytes) -> None:
        for line in lines:
            self.send.send_nowait(line)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with self.send, self._asked:
            async for line in self._asked:
                self.taken += 1
                yield line

    def ahead(self) -> Iterable[bytes]:
        return ()

    async def write(self, line: bytes) -> None:
        await self.reads.wait()
        self.answers.append(json.loads(line))

    async def until_no_more_is_taken(self) -> None:
        before = -1
        while before != self.taken:
            before = self.taken
            await settle()


@asynccontextmanager
async def client() -> AsyncIterator[Client]:
    """A client of a server in this process."""
    client = Client()
    connector = MemoryConnector((frames.metadata(),))
    async with supervising(connector=connector) as server, anyio.create_task_group() as group:
        group.start_soon(sdk.run_on_stdio, server, client, client)
        with anyio.fail_after(30):
            yield client
        group.cancel_scope.cancel()


async def test_a_client_that_does_not_read_is_not_read_either() -> None:
    """Issue: bounded. An answer that nobody takes is kept, and so is what it is made of."""
    count = 4 * sdk.MAX_UNANSWERED
    async with client() as here:
        here.ask(*(request(id + 1, "ping") for id in range(count)))
        await here.until_no_more_is_taken()
        assert 0 < here.taken <= sdk.MAX_UNANSWERED + 2
        here.reads.set()
        while len(here.answers) <= count:
            await anyio.lowlevel.checkpoint()
        assert sorted(int(str(answer["id"])) for answer in here.answers) == list(range(count + 1))


async def test_calls_that_were_cancelled_do_not_wait_for_an_answer() -> None:
    """They never have one (MCP), so they must not count when the client stops reading later."""
    async with client() as here:
        here.reads.set()
        here.ask(request(-1, "tools/call", name="attach_chat", arguments={"chat_id": CHAT}))
        while len(here.answers) < 2:
            await anyio.lowlevel.checkpoint()
        for id in range(1, 2 * sdk.MAX_UNANSWERED):
            cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}
            wait = request(id, "tools/call", name="wait_for_events", arguments={"timeout_s": 50})
            here.ask(wait, json.dumps(cancelled).encode())
        await here.until_no_more_is_taken()
        assert len(here.answers) == 2, "none of the waits has an answer"
        here.reads = anyio.Event()
        before, pings = here.taken, sdk.MAX_UNANSWERED // 2
        here.ask(*(request(-2 - id, "ping") for id in range(pings)))
        await here.until_no_more_is_taken()
        assert here.taken == before + pings
