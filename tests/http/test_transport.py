"""The transport: who may ask from where, how long a request may take, what becomes of sessions and of too many."""

import asyncio
import json
import socket
from typing import Any

import anyio
import httpx2
import pytest

from evi_mcp.server.http import body, listening
from evi_mcp.server.http.app import PATH, resource_url
from evi_mcp.server.http.guard import allowed
from evi_mcp.serving import listen
from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT
from tests.http.rig import Session, answer_of, serving, until

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", [PATH, "/healthz", "/readyz", "/metrics", "/nothing"])
async def test_a_page_of_somebody_else_gets_nothing(path: str) -> None:
    """A page can have a browser ask a server of this machine, or a name that it has pointed here (DNS rebinding)."""
    async with serving(allowed_origins="https://app.example.com") as served, served.raw() as client:
        get = client.http.get
        assert (await get(path, headers={"Host": "evil.example.com"})).status_code == 421
        for origin in ("https://evil.example.com", "null", "https://app.example.com.evil.com", "http://localhost.evil"):
            assert (await get(path, headers={"Origin": origin})).status_code == 403, origin
        fine = {"/nothing": 404, PATH: 400}.get(path, 200)
        for origin in ("https://app.example.com", "http://localhost:6274"):
            assert (await get(path, headers={"Origin": origin})).status_code in (fine, 406), origin


def test_which_hosts_and_origins_are_meant() -> None:
    """Without authentication only names of this machine and the public one; with it a token is what counts."""
    local = allowed("127.0.0.1", None, "", is_local=True, has_authentication=False)
    assert local.host("localhost:1") and local.host("[::1]:80") and not local.host("evi.example.com")
    public = allowed("0.0.0.0", "https://evi.example.com/mcp", "", is_local=False, has_authentication=True)
    assert public.host("EVI.example.com:443") and public.origin("https://evi.example.com")
    assert not public.host("other.example.com") and not public.origin("http://localhost:6274")
    unknown = allowed("0.0.0.0", None, "", is_local=False, has_authentication=True)
    assert unknown.host("whatever.example.com") and not unknown.origin("https://whatever.example.com")
    assert resource_url("https://evi.example.com", "x") == "https://evi.example.com/mcp"
    assert resource_url("https://example.com/evi/mcp", "x") == "https://example.com/evi/mcp"


async def test_a_browser_client_can_ask_and_read(evi: FakeEvi) -> None:
    """A preflight carries no token, so it is answered before anything asks for one."""
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,mcp-param-chat-id",
    }
    async with serving(evi, allowed_origins="https://app.example.com") as served, served.raw() as client:
        origin = {"Origin": "https://app.example.com"}
        answer = await client.http.options(PATH, headers={**origin, **asked})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == origin["Origin"]
        assert "authorization" in answer.headers["access-control-allow-headers"]
        answer = await client.post("tools/list", headers=origin)
        assert {"Mcp-Session-Id", "WWW-Authenticate"} <= set(
            answer.headers["access-control-expose-headers"].split(", ")
        )
        answer = await client.http.options(PATH, headers={"Origin": "https://evil.example.com", **asked})
        assert answer.status_code == 400


async def closed(address: str, *sent: bytes) -> bytes:
    """What is answered to these bytes, sent one after the other's answer, until the connection is closed."""
    reader, writer = await asyncio.open_connection(*address.split(":"))
    answer = b""
    try:
        async with asyncio.timeout(10):
            for part in sent[:-1]:
                writer.write(part)
                answer += await reader.readuntil(b"ok\n")
            writer.write(sent[-1])
            return answer + await reader.read()
    finally:
        writer.close()


async def test_who_sends_half_a_request_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs a file; there are not many."""
    monkeypatch.setattr(listening, "HEAD_S", 0.2)
    monkeypatch.setattr(body, "DEADLINE_S", 0.2)
    monkeypatch.setattr(body.WholeBody.__init__, "__defaults__", (0.2,))
    async with serving() as served:
        half = f"POST {PATH} HTTP/1.1\r\nHost: {served.address}\r\nContent-Length: 100\r\n\r\n{{".encode()
        whole = f"GET /healthz HTTP/1.1\r\nHost: {served.address}\r\n\r\n".encode()
        assert await closed(served.address, b"") == b""
        assert await closed(served.address, b"POST /mcp HT") == b""
        assert (await closed(served.address, whole, b"GET /hea")).startswith(b"HTTP/1.1 200")
        assert (await closed(served.address, half)).startswith(b"HTTP/1.1 408")


async def test_a_body_that_is_too_large_is_refused_before_it_is_kept() -> None:
    """Declared or not."""

    async def chunks() -> Any:
        for _ in range(80):
            yield b"x" * 2**16

    async with serving() as served, served.raw() as client:
        answer = await client.http.post(PATH, content=b"x" * (body.MAX_BYTES + 1))
        assert answer.status_code == 413
        try:
            answer = await client.http.post(PATH, content=chunks())
        except httpx2.TransportError:
            return  # it was closed while it was still sent
        assert answer.status_code == 413


async def test_too_many_waits_and_streams_are_told_to_come_back(evi: FakeEvi) -> None:
    """503 with `Retry-After` is what clients and proxies understand."""
    evi.history[CHAT] = [frames.metadata(), frames.user("Hello?", 100)]
    async with serving(evi, max_waits=1) as served, served.raw() as client:
        await client.call("attach_chat", chat_id=CHAT)
        session, ends = await client.initialize(), list[Any]()

        async def wait() -> None:
            ends.append(await client.call("wait_for_events", timeout_s=2, types=["assistant_end"]))

        async def get() -> None:
            ends.append(await client.http.get(PATH, headers=session.headers))

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            group.start_soon(get)
            registry = served.web.tenants.find("").service.registry  # type: ignore[union-attr]
            await until(lambda: registry.waits.count + served.web.running.streams == 2)
            listen = {"notifications": {"resourcesListChanged": True}}
            for answer in (
                await client.call("wait_for_events", timeout_s=1),
                await session.call("wait_for_events", timeout_s=1),
                await client.post("subscriptions/listen", listen),
                await (await client.initialize()).http.get(PATH, headers=session.headers),
            ):
                assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
                assert "EVI_MCP_MAX_WAITS" in answer.json()["error"]["message"]
            assert (await client.call("list_chats")).status_code == 200
            await until(lambda: ends)
            served.web.running.end_all()


async def test_a_session_of_a_former_process_goes_on(evi: FakeEvi) -> None:
    """Handshake clients do not begin anew at a 404: their tools would be dead until somebody restarts them."""
    evi.history[CHAT] = [frames.metadata(), frames.user("Hello?", 100)]
    async with serving(evi) as served, served.raw() as client:
        session = Session(client.http, "f" * 32)
        assert "result" in answer_of(await session.call("attach_chat", chat_id=CHAT))
        page = answer_of(await session.call("read_events", chat_id=CHAT))
        assert page["result"]["structuredContent"]["events"]
        get = await client.http.get(PATH, headers=session.headers)
        assert (get.status_code, get.headers["allow"]) == (405, "POST")


async def test_a_session_that_its_client_has_ended_stays_ended(evi: FakeEvi) -> None:
    """MCP 2025-11-25, transports: 404 to whatever comes with its id."""
    async with serving(evi) as served, served.raw() as client:
        for session in (await client.initialize(), Session(client.http, "e" * 32)):
            assert (await session.http.delete(PATH, headers=session.headers)).status_code in (200, 404)
            assert (await session.call("list_chats")).status_code == 404
            assert (await session.http.get(PATH, headers=session.headers)).status_code == 404


@pytest.mark.parametrize(
    "sent",
    [b"", b"[" * 100_000, b"nonsense", b"[]", b'{"method": "tools/call", "id": 1}', b"\xff\xfe", b'"tools/call"'],
    ids=lambda sent: repr(sent[:12]),
)
async def test_whatever_is_sent_is_answered(evi: FakeEvi, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """With what is wrong, and without a traceback."""
    async with serving(evi) as served, served.raw() as client:
        for more in ({}, {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call"}):
            headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", **more}
            answer = await client.http.post(PATH, content=sent, headers=headers)
            assert 400 <= answer.status_code < 500, answer.text
            json.loads(answer.text or "{}")
    assert not [record for record in caplog.records if record.exc_info and record.name.startswith("evi_mcp")]


async def test_numbers_are_for_whoever_watches(evi: FakeEvi) -> None:
    """And hold no word of a chat."""
    evi.history[CHAT] = [frames.metadata(), frames.user("Hello?", 100)]
    async with serving(evi) as served, served.raw() as client:
        await client.call("attach_chat", chat_id=CHAT)
        text = (await client.http.get("/metrics")).text
    assert 'evi_mcp_chats{tenant="",state="live"} 1' in text and "evi_mcp_requests_total 1" in text
    assert CHAT not in text and "Hello" not in text


def test_an_answer_in_two_pieces_does_not_wait_for_the_first_to_be_acknowledged() -> None:
    """An answer has a head and a body; with Nagle's algorithm each call took 40 ms longer."""
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
