"""A server over HTTP in the process of a test: its real sockets, all of its layers, and clients by hand."""

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from pydantic import SecretStr

from evi_mcp.config import Settings
from evi_mcp.server.http.app import PATH, Door, Web
from evi_mcp.server.http.challenge import Challenge
from evi_mcp.server.http.guard import allowed
from evi_mcp.server.http.listening import server
from evi_mcp.server.http.serve import end, look_after, open_web
from evi_mcp.server.http.tenants import DEFAULT, Apart, Tenant
from evi_mcp.server.server import EviServer
from evi_mcp.serving import listen
from evi_mcp.upstream.directory import Directory
from evi_mcp.upstream.transport import Connector
from tests.fake_evi import KEY, FakeEvi
from tests.harness import Agent, service_behind
from tests.supervision.following import QUICK

MODERN, HANDSHAKE = "2026-07-28", "2025-11-25"
ACCEPT = "application/json, text/event-stream"


class Served:
    """A server that listens."""

    def __init__(self, web: Web, address: str) -> None:
        self.web = web
        self.address = address
        self.url = f"http://{address}{PATH}"

    @asynccontextmanager
    async def agent(self, token: str | None = None, era: str = "auto", path: str = PATH) -> AsyncIterator[Agent]:
        """An agent of the SDK, with a token."""
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
            transport = streamable_http_client(f"http://{self.address}{path}", http_client=http)
            async with Client(transport, mode=era) as client:
                yield Agent(client)

    @asynccontextmanager
    async def raw(self, token: str | None = None) -> AsyncIterator["Raw"]:
        """A client by hand."""
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        async with httpx2.AsyncClient(base_url=f"http://{self.address}", headers=headers, timeout=30) as http:
            yield Raw(http)

    async def follow(self) -> None:
        """What the server does once a second."""
        await self.web.tenants.follow_file()
        await self.web.end_revoked()


class Raw:
    """A client that sees statuses and headers."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    def modern(
        self, method: str, params: dict[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The arguments of a request of 2026-07-28, for `post` or `stream`."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "by-hand", "version": "1"},
        }
        params = {**(params or {}), "_meta": meta}
        sent = {"Accept": ACCEPT, "MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        if "name" in params:
            sent["Mcp-Name"] = params["name"]
        if isinstance(chat_id := params.get("arguments", {}).get("chat_id"), str):
            sent["Mcp-Param-Chat-Id"] = chat_id
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return {"json": body, "headers": {**sent, **(headers or {})}}

    async def post(
        self, method: str, params: dict[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        """Sends a request of 2026-07-28."""
        return await self.http.post(PATH, **self.modern(method, params, headers))

    async def call(self, tool: str, **arguments: Any) -> httpx2.Response:
        """Calls a tool as a client of 2026-07-28 does."""
        return await self.post("tools/call", {"name": tool, "arguments": arguments})

    async def initialize(self) -> "Session":
        """Begins a handshake session."""
        info = {"name": "by-hand", "version": "1"}
        params = {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": info}
        answer = await self.http.post(
            PATH,
            json={"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params},
            headers={"Accept": ACCEPT},
        )
        assert answer.status_code == 200, answer.text
        session = Session(self.http, answer.headers["mcp-session-id"])
        await session.post("notifications/initialized", id=None)
        return session


class Session:
    """A handshake session, or what its client takes for one."""

    def __init__(self, http: httpx2.AsyncClient, id: str) -> None:
        self.http = http
        self.id = id

    @property
    def headers(self) -> dict[str, str]:
        """Those of every request."""
        return {"Accept": ACCEPT, "MCP-Protocol-Version": HANDSHAKE, "Mcp-Session-Id": self.id}

    async def post(self, method: str, params: dict[str, Any] | None = None, id: int | None = 1) -> httpx2.Response:
        """Sends a message; without `id` it is a notification."""
        body = {"jsonrpc": "2.0", "method": method, "params": params or {}, **({"id": id} if id is not None else {})}
        return await self.http.post(PATH, json=body, headers=self.headers)

    async def call(self, tool: str, **arguments: Any) -> httpx2.Response:
        """Calls a tool."""
        return await self.post("tools/call", {"name": tool, "arguments": arguments})


async def until(condition: Callable[[], Any]) -> None:
    """Returns once this holds; the fixture's limit ends what never does."""
    while not condition():  # noqa: ASYNC110 - nothing tells of it
        await anyio.sleep(0.01)


def answer_of(response: httpx2.Response) -> Any:
    """The JSON-RPC answer, whether it came as JSON or as the last event of a stream."""
    if response.headers["content-type"].startswith("application/json"):
        return response.json()
    return list(events_of(response.text))[-1]


def events_of(text: str) -> Iterator[Any]:
    """The messages in a stream."""
    for line in text.splitlines():
        if line.startswith("data:") and line[5:].strip():
            yield json.loads(line[5:])


@asynccontextmanager
async def serving(
    evi: FakeEvi | None = None,
    *,
    watch: bool = False,
    connector: Connector | None = None,
    directory: Directory | None = None,
    apart: Apart | None = None,
    **settings: Any,
) -> AsyncIterator[Served]:
    """A server on the service `evi`. `watch`: tokens in use are looked at once a second, as in a process."""
    base_url = evi.base_url if evi else "http://127.0.0.1:9"
    values = {"base_url": base_url, "hume_api_key": SecretStr(KEY), "results": "both", **settings}
    listener = listen("127.0.0.1", 0)
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    made = Settings(**values)
    with listener, anyio.fail_after(60):
        opening = open_web(made, address, connector, directory, apart=apart, pace=QUICK)
        async with opening as web, anyio.create_task_group() as group:
            uvicorn = server(web.app, made.trusted_proxies, 1000)
            group.start_soon(uvicorn.serve, [listener])
            if watch:
                group.start_soon(look_after, web)
            yield Served(web, address)
            await end(web, uvicorn)
            if watch:
                group.cancel_scope.cancel()


class _OneTenant:
    """The tenants of a server that is there already."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant

    def find(self, name: str) -> Tenant | None:
        return self._tenant if name == DEFAULT else None

    def __iter__(self) -> Iterator[Tenant]:
        return iter([self._tenant])


@asynccontextmanager
async def over_http(made: EviServer) -> AsyncIterator[Any]:
    """How an agent reaches a server of `harness.supervising` over HTTP."""
    tenant = Tenant(DEFAULT, None, service_behind(made), made)
    may = allowed("127.0.0.1", None, "", is_local=True, has_authentication=False)
    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}{PATH}"
    web = Web(_OneTenant(tenant), [Door(PATH, None, Challenge(url))], may, most=2000)  # type: ignore[arg-type]
    with listener:
        async with tenant.sessions.run(), anyio.create_task_group() as group:
            uvicorn = server(web.app, "127.0.0.1", 1000)
            group.start_soon(uvicorn.serve, [listener])
            async with httpx2.AsyncClient(timeout=30) as http:
                yield streamable_http_client(url, http_client=http)
            web.running.end_all()
            uvicorn.should_exit = True


def tokens_file(path: Path, text: str) -> Path:
    """A tokens file with this text, as its owner would keep it."""
    path.write_text(text)
    path.chmod(0o600)
    return path
