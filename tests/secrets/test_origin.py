"""The key goes to the service that is set and to nobody else: not by a chat's id, a redirect, a proxy or a weak TLS."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from evi_mcp.errors import InvalidChatId, ServiceUnavailable
from evi_mcp.protocol.chat_id import check_chat_id
from evi_mcp.upstream.rest import RestClient
from evi_mcp.upstream.transport import Refused, Unreachable
from evi_mcp.upstream.websocket import WebSocketConnector
from tests.process.conftest import evi_mcp
from tests.secrets.certificates import self_signed
from tests.secrets.leaky import KEY
from tests.secrets.places import somewhere

pytestmark = pytest.mark.anyio

REDIRECTS = (301, 302, 303, 307, 308)


@asynccontextmanager
async def both_ways(base_url: str) -> AsyncIterator[tuple[WebSocketConnector, RestClient]]:
    rest = RestClient(base_url, SecretStr(KEY))
    try:
        yield WebSocketConnector(base_url, SecretStr(KEY), rest), rest
    finally:
        await rest.aclose()


any_id = (
    st.from_regex(r"[A-Za-z0-9_.\-]{1,128}", fullmatch=True)
    | st.text(min_size=1, max_size=20)
    | st.text(st.sampled_from("ab/?#%.:@&=;\\ \t\n\r\0[]é-_"), min_size=1, max_size=12)
    | st.sampled_from(
        ["..", ".", "...", "%2e%2e", "a/../b", "//host", "a@host", "a:1", "\n", "a\r\nX: y", "．．", "ａ"]
    )
)


def accepted() -> list[str]:
    """Ids of every kind that the check lets pass; most do not."""
    found = ["...", ".a", "-", "_", "--", "a..b", "x" * 128]

    @settings(max_examples=400, database=None)
    @given(any_id)
    def try_it(chat_id: str) -> None:
        try:
            found.append(check_chat_id(chat_id))
        except InvalidChatId:
            assert not re.fullmatch(r"[A-Za-z0-9_\-]{1,128}", chat_id)

    try_it()
    return list(dict.fromkeys(found))


async def test_whatever_chat_id_is_accepted_arrives_as_one_segment_of_the_path() -> None:
    """Our contract (section 3): an id comes from an agent, and must not choose the host, the path or the query."""
    async with somewhere() as place, both_ways(f"http://{place.address}") as (sockets, rest):
        for chat_id in accepted():
            with pytest.raises(Refused):
                await sockets.connect(chat_id)
            assert await rest.chat_status(chat_id) is None
            asked, status = (head.split("\r\n") for head in place.heads[-2:])
            assert asked[0] == f"GET /v0/evi/chat/{chat_id}/connect HTTP/1.1"
            assert status[0] == f"GET /v0/evi/chats/{chat_id}?page_size=1 HTTP/1.1"
            for head in (asked, status):
                assert [line for line in head if line.lower().startswith("host:")] == [f"Host: {place.address}"]
    assert len(place.heads) > 100


@pytest.mark.parametrize("status", REDIRECTS)
async def test_no_redirect_carries_the_key_anywhere(status: int) -> None:
    """Libraries send their headers along, to any origin; neither another one nor the same is gone to."""
    async with somewhere() as home, somewhere() as other, both_ways(f"http://{home.address}") as (sockets, rest):
        for target in (f"http://{other.address}/x", f"//{other.address}/", f"ws://{other.address}/", "/v0/elsewhere"):
            location = (
                f"HTTP/1.1 {status} Moved\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            home.answer = location.encode()
            with pytest.raises(Refused) as refused:
                await sockets.connect("c-1")
            assert refused.value.status == status
            assert "not followed" in await sockets.explain_refusal("c-1", status)
            with pytest.raises(ServiceUnavailable, match=str(status)):
                await rest.active_chats()
            assert await rest.chat_status("c-1") is None
        assert other.heads == [] and not [head for head in home.heads if "elsewhere" in head]


@pytest.mark.parametrize("variables", [("HTTP_PROXY", "HTTPS_PROXY"), ("ALL_PROXY",), ("http_proxy", "https_proxy")])
async def test_a_proxy_of_the_environment_never_sees_the_key(
    variables: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What holds: with https a proxy is asked for a tunnel, in which it sees nothing. With http it would read the key,
    so it is not used, as it is not for a service on this machine."""
    async with somewhere() as proxy, somewhere() as home:
        for variable in variables:
            monkeypatch.setenv(variable, f"http://{proxy.address}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        for base_url in ("http://evi.invalid", "https://evi.invalid", f"http://{home.address}"):
            async with both_ways(base_url) as (sockets, rest):
                with pytest.raises((Refused, Unreachable)):
                    await sockets.connect("c-1")
                with pytest.raises(ServiceUnavailable):
                    await rest.active_chats()
        assert {head.split("\r\n")[0] for head in proxy.heads} == {"CONNECT evi.invalid:443 HTTP/1.1"}
        assert KEY not in str(proxy.heads)
        assert len(home.heads) == 2


BY_ACCIDENT = [
    {},
    {"SSL_CERT_FILE": "/no/such/file"},
    {"SSL_CERT_DIR": "/no/such/folder"},
    {"PYTHONHTTPSVERIFY": "0"},
    {"REQUESTS_CA_BUNDLE": "{file}", "CURL_CA_BUNDLE": "{file}"},
    {"SSL_VERIFY": "0", "HTTPX_VERIFY": "0", "NODE_TLS_REJECT_UNAUTHORIZED": "0"},
]


@pytest.mark.parametrize("environment", BY_ACCIDENT, ids=str)
async def test_no_variable_turns_the_check_of_certificates_off(tmp_path: Path, environment: dict[str, str]) -> None:
    """Such variables linger in profiles of users; the key is not even sent to a service that nobody vouches for."""
    file, context = self_signed(tmp_path)
    filled = {name: value.format(file=file) for name, value in environment.items()}
    async with somewhere(context) as place:
        settings = {"HUME_API_KEY": KEY, "EVI_MCP_BASE_URL": f"https://{place.address}", "EVI_MCP_RECONNECT_FOR": "0"}
        async with evi_mcp(environment=settings | filled) as server:
            await server.initialize()
            for tool, arguments in (("attach_chat", {"chat_id": "c-1"}), ("list_chats", {"scope": "active"})):
                answer = await server.call(tool, **arguments)
                assert answer["isError"] and "certificate" in answer["content"][0]["text"], answer
    assert place.heads == [], "not a byte of a request was sent"


async def test_who_names_a_certificate_trusts_it(tmp_path: Path) -> None:
    """What holds: SSL_CERT_FILE is how a service with a private authority is used, on purpose; on sockets and REST."""
    file, context = self_signed(tmp_path)
    async with somewhere(context) as place:
        settings = {"HUME_API_KEY": KEY, "EVI_MCP_BASE_URL": f"https://{place.address}", "EVI_MCP_RECONNECT_FOR": "0"}
        async with evi_mcp(environment=settings, SSL_CERT_FILE=str(file)) as server:
            await server.initialize()
            assert "HTTP 404" in (await server.call("attach_chat", chat_id="c-1"))["content"][0]["text"]
            assert "HTTP 404" in (await server.call("list_chats", scope="active"))["content"][0]["text"]
    assert len(place.heads) >= 2


async def test_a_missing_file_of_certificates_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left to itself, REST's library opens the file that the variable names, and an agent hears of a fault of ours."""
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file")
    async with both_ways("https://evi.invalid") as (sockets, rest):
        with pytest.raises(ServiceUnavailable, match="the service cannot be asked"):
            await rest.active_chats()
        assert await rest.chat_status("c-1") is None
        with pytest.raises(Unreachable):
            await sockets.connect("c-1")
