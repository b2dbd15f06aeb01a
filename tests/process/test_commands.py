"""The other commands, as processes: simulate, serve --simulate, doctor."""

import json
import signal

import pytest

from tests.fake_evi import KEY, FakeEvi
from tests.process.conftest import evi_mcp

pytestmark = pytest.mark.anyio


async def test_the_simulator_alone_prints_its_address_first_and_ends_when_told() -> None:
    """Our contract (section 2): its first line on stdout is its base URL."""
    async with evi_mcp("simulate", "--speed", "20") as simulator:
        assert simulator.process.stdout is not None
        base_url = (await simulator.process.stdout.readline()).decode().strip()
        assert base_url.startswith("http://127.0.0.1:")
        async with evi_mcp("doctor", EVI_MCP_BASE_URL=base_url, HUME_API_KEY="any") as doctor:
            assert doctor.process.stdout is not None
            said = (await doctor.process.stdout.read()).decode()
            assert await doctor.process.wait() == 0
        assert "ok    service: it accepts the key and lists 3 active chats" in said
        async with evi_mcp("simulate", "--port", base_url.rsplit(":", 1)[1]) as second:
            status, log = await second.ended()
            assert (status, "cannot listen on 127.0.0.1" in log) == (1, True)
        simulator.process.send_signal(signal.SIGTERM)
        assert (await simulator.ended())[0] == 0


async def test_served_with_the_simulator_inside_there_are_live_chats_at_once() -> None:
    """Our contract (section 2): no key, and an agent has something to attach to."""
    async with evi_mcp("serve", "--simulate") as server:
        await server.initialize()
        chats = (await server.call("list_chats", scope="active"))["structuredContent"]["chats"]
        assert len(chats) == 3
        chat = (await server.call("attach_chat", chat_id=chats[0]["chat_id"]))["structuredContent"]
        assert chat["state"] == "live"
        server.process.send_signal(signal.SIGINT)
        assert (await server.ended())[0] == 130


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "HUME_API_KEY is not set"),
        ({"HUME_API_KEY": "wrong"}, "refuses the key (HTTP 401)"),
        ({"HUME_API_KEY": KEY, "EVI_MCP_BASE_URL": "http://127.0.0.1:9"}, "the service cannot be asked"),
    ],
)
async def test_the_doctor_says_what_to_fix(evi: FakeEvi, environment: dict[str, str], said: str) -> None:
    """One line for each check, and status 1; the key itself is never shown."""
    async with evi_mcp("doctor", environment={"EVI_MCP_BASE_URL": evi.base_url, **environment}) as doctor:
        assert doctor.process.stdout is not None
        shown = (await doctor.process.stdout.read()).decode()
        assert await doctor.process.wait() == 1
    assert said in shown
    assert "wrong" not in shown


async def test_a_modern_client_by_hand_needs_no_handshake() -> None:
    """MCP 2026-07-28: no `initialize`; each request carries its version and capabilities."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "by-hand", "version": "1"},
    }
    async with evi_mcp("serve", "--simulate") as server:
        answer = await server.request("server/discover", _meta=meta)
        assert "2026-07-28" in json.dumps(answer)
        answer = await server.request("tools/call", name="list_chats", arguments={"scope": "active"}, _meta=meta)
        assert len(answer["result"]["structuredContent"]["chats"]) == 3
