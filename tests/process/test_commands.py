"""The other commands, as processes: simulate, serve --simulate, doctor."""

import json
import signal
from pathlib import Path

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
        assert "ok    service: it accepts the key and lists 4 active chats" in said
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
        assert len(chats) == 4
        chat = (await server.call("attach_chat", chat_id=chats[0]["chat_id"]))["structuredContent"]
        assert chat["state"] == "live"
        server.process.send_signal(signal.SIGINT)
        assert (await server.ended())[0] == 130


async def test_one_simulated_call_can_be_asked_for_by_name() -> None:
    """Who tries an agent on a call needs to know which one it is."""
    async with evi_mcp("serve", "--simulate=billing", "--simulate-speed=50") as server:
        await server.initialize()
        [chat] = (await server.call("list_chats", scope="active"))["structuredContent"]["chats"]
        await server.call("attach_chat", chat_id=chat["chat_id"])
        page = await server.call("read_events", chat_id=chat["chat_id"])
        assert "this is billing" in page["content"][0]["text"]
        server.end_input()
        assert (await server.ended())[0] == 0


async def told(*arguments: str, limits: str = "", **environment: str) -> tuple[int, dict[str, str]]:
    """What the doctor says, each check by its name, with the mark at the start of the line; and its status."""
    async with evi_mcp("doctor", *arguments, limits=limits, environment=environment) as doctor:
        assert doctor.process.stdout is not None
        lines = (await doctor.process.stdout.read()).decode().splitlines()
        status = await doctor.process.wait()
    parted = [line.partition(": ") for line in lines]
    checks = {head[6:]: f"{head[:4].strip()} {said}" for head, _, said in parted}
    assert len(checks) == len(lines), "a line for each check"
    return status, checks


async def test_the_doctor_has_a_line_for_each_check(evi: FakeEvi, tmp_path: Path) -> None:
    """Our contract (section 2): it checks settings, reachability and key."""
    status, checks = await told(
        EVI_MCP_BASE_URL=evi.base_url, HUME_API_KEY=KEY, EVI_MCP_AUDIT_LOG=str(tmp_path / "audit.jsonl")
    )
    assert status == 0, checks
    assert list(checks) == [
        "settings",
        "clear text",
        "proxy",
        "certificates",
        "open files",
        "audit log",
        "key",
        "service",
    ]
    assert all(said.startswith("ok ") for said in checks.values()), checks
    assert KEY not in str(checks)


@pytest.mark.parametrize(
    ("environment", "check", "said"),
    [
        ({}, "key", "HUME_API_KEY is not set"),
        ({"HUME_API_KEY": "wrong"}, "service", "refuses the key (HTTP 401)"),
        ({"HUME_API_KEY": KEY, "EVI_MCP_BASE_URL": "http://127.0.0.1:9"}, "service", "the service cannot be asked"),
        (
            {"EVI_MCP_BASE_URL": "https://evi.invalid", "ALL_PROXY": "socks4://x"},
            "proxy",
            'ALL_PROXY names a proxy of the kind "socks4", which is not supported',
        ),
        (
            {"EVI_MCP_BASE_URL": "https://127.0.0.1:9", "SSL_CERT_FILE": "/no/such/file"},
            "certificates",
            'SSL_CERT_FILE names "/no/such/file", which cannot be read',
        ),
        ({"EVI_MCP_AUDIT_LOG": "/no/such/folder/x"}, "audit log", "EVI_MCP_AUDIT_LOG"),
    ],
)
async def test_the_doctor_says_what_to_fix(evi: FakeEvi, environment: dict[str, str], check: str, said: str) -> None:
    """One line for each check, and status 1; the key itself is never shown."""
    status, checks = await told(**{"EVI_MCP_BASE_URL": evi.base_url, **environment})
    assert status == 1
    assert checks[check].startswith("FAIL ") and said in checks[check], checks
    assert "wrong" not in str(checks)


async def test_the_doctor_says_where_the_way_goes() -> None:
    """A way round a proxy, or without TLS, is one that somebody has asked for and may have forgotten."""
    _, checks = await told(EVI_MCP_BASE_URL="https://evi.invalid", HTTPS_PROXY="http://me:s3cret@127.0.0.1:9")
    assert checks["proxy"] == "ok http://127.0.0.1:9, with a password (HTTPS_PROXY)"
    _, checks = await told(EVI_MCP_BASE_URL="https://[fd00::1]", HTTPS_PROXY="http://127.0.0.1:9", NO_PROXY="fd00::/8")
    assert checks["proxy"] == "ok none, since NO_PROXY names the host"
    _, checks = await told(EVI_MCP_BASE_URL="HTTP://evi.invalid", EVI_MCP_ALLOW_PLAIN_HTTP="on")
    assert "unencrypted, as EVI_MCP_ALLOW_PLAIN_HTTP allows" in checks["clear text"]
    assert checks["settings"].startswith("ok http://evi.invalid,")


async def test_the_doctor_counts_open_files_against_the_limit_of_chats() -> None:
    """A chat takes one; found out at the hundredth chat, it looks like a fault of the service."""
    _, checks = await told(limits="-n 300")
    assert checks["open files"].startswith("FAIL at most 300, enough for 200 chats, while EVI_MCP_MAX_CHATS is 1000")
    _, checks = await told("--max-chats", "200", limits="-n 300")
    assert checks["open files"] == "ok at most 300, enough for 200 chats"
    _, checks = await told("--max-chats", "200", limits="-S -n 50")
    assert checks["open files"].startswith("ok "), "the soft limit is raised, as it is for serving"


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
        assert len(answer["result"]["structuredContent"]["chats"]) == 4
