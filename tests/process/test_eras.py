"""Which era of MCP a client on stdio is served in: the one that it wants, however late the server was."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.process.conftest import SCRIPT, Process, evi_mcp

pytestmark = pytest.mark.anyio

ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "by-hand", "version": "1"}}


def line(method: str, id: int | None = None, **params: Any) -> bytes:
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
    return json.dumps(message if id is None else {**message, "id": id}).encode() + b"\n"


PROBE = line("server/discover", 0, _meta=ENVELOPE)
CANCELLED = line("notifications/cancelled", requestId=0, reason="timed out")
HANDSHAKE = line("initialize", 1, **INITIALIZE)
INITIALIZED = line("notifications/initialized")


@asynccontextmanager
async def asked(*lines: bytes) -> AsyncIterator[Process]:
    """A server that finds these lines on stdin when it begins to read, however slow its start is."""
    ours, theirs = os.pipe()
    os.write(theirs, b"".join(lines))
    process = await asyncio.create_subprocess_exec(
        SCRIPT,
        "serve",
        "--simulate",
        stdin=ours,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={name: os.environ[name] for name in ("PATH", "HOME", "COVERAGE_PROCESS_CONFIG") if name in os.environ},
    )
    os.close(ours)
    try:
        async with asyncio.timeout(60):
            yield Process(process)
            os.close(theirs)
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("between", [(), (CANCELLED,), (b"\n", b"garbage\n")], ids=["nothing", "cancelled", "noise"])
async def test_a_probe_that_the_client_has_given_up_is_dropped(between: tuple[bytes, ...]) -> None:
    """Issue: Vercel's AI SDK probes, waits for 1 s and begins with `initialize` on the same pipe. A server that was
    slow to start took the probe for its era, refused the handshake, and was never connected to. The probe has no
    answer: the client takes an answer that it does not wait for as a fault."""
    async with asked(PROBE, *between, HANDSHAKE, INITIALIZED, line("tools/list", 2)) as server:
        answers = [await server.read() for _ in range(2 + (b"garbage\n" in between))]
    wanted = [answer for answer in answers if answer.get("id") is not None]
    assert [answer["id"] for answer in wanted] == [1, 2]
    assert wanted[0]["result"]["protocolVersion"] == "2025-11-25" and wanted[1]["result"]["tools"]


async def test_a_client_that_the_answer_to_its_probe_has_missed_gets_in_all_the_same() -> None:
    """The answer may be on its way when the client gives up: then it has probed, and nothing more."""
    async with evi_mcp("serve", "--simulate") as server:
        for _ in range(2):
            server.write(PROBE)
            assert "2026-07-28" in (await server.read())["result"]["supportedVersions"]
        assert (await server.initialize())["result"]["protocolVersion"] == "2025-11-25"
        assert (await server.request("tools/list"))["result"]["tools"]
        assert not (await server.call("list_chats", scope="active")).get("isError")
        refused = await server.request("tools/list", _meta=ENVELOPE)
        assert refused["error"]["code"] == -32600, "and now it has its era"
        server.end_input()
        status, log = await server.ended()
    assert status == 0 and "Traceback" not in log


async def test_a_client_that_goes_on_after_its_probe_keeps_its_era() -> None:
    """What was asked since is of that era: a handshake is refused with the versions that are served."""
    async with asked(PROBE, line("tools/list", 1, _meta=ENVELOPE)) as server:
        assert {(await server.read())["id"], (await server.read())["id"]} == {0, 1}
    async with evi_mcp("serve", "--simulate") as server:
        assert (await server.request("server/discover", _meta=ENVELOPE))["result"]
        assert (await server.request("tools/list", _meta=ENVELOPE))["result"]["tools"]
        assert (await server.request("initialize", **INITIALIZE))["error"]["code"] == -32022
