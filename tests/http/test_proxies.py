"""The configurations of proxies that `deploy/` has, in front of the server. Skipped where a proxy is not installed."""

import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from evi_mcp.access.callers import Access
from evi_mcp.access.token_edits import add
from evi_mcp.server.http.app import PATH
from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT
from tests.http.rig import Raw, answer_of, events_of, serving
from tests.secrets.certificates import self_signed

pytestmark = pytest.mark.anyio

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
HOST = "evi.example.com"


def nginx(folder: Path, port: int, upstream: str) -> list[str]:
    """The command that runs nginx with the configuration of `deploy/`."""
    site = (DEPLOY / "nginx.conf").read_text()
    for old, new in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/letsencrypt/live/evi.example.com/fullchain.pem", str(folder / "certificate.pem")),
        ("/etc/letsencrypt/live/evi.example.com/privkey.pem", str(folder / "key.pem")),
        ("127.0.0.1:8000;", f"{upstream};"),
    ):
        assert old in site
        site = site.replace(old, new)
    (folder / "site.conf").write_text(site)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind}; " for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log stderr; worker_processes 1; events {{}}\n"
        f"http {{ access_log off; {temporary} include {folder}/site.conf; }}\n"
    )
    return ["-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]


def caddy(folder: Path, port: int, upstream: str) -> list[str]:
    """The command that runs Caddy with the configuration of `deploy/`."""
    site = (DEPLOY / "Caddyfile").read_text()
    certificate = f"tls {folder}/certificate.pem {folder}/key.pem"
    for old, new in (
        (f"{HOST} {{", f"{HOST}:{port} {{\n\t{certificate}"),
        ("reverse_proxy 127.0.0.1:8000", f"reverse_proxy {upstream}"),
    ):
        assert old in site
        site = site.replace(old, new)
    (folder / "Caddyfile").write_text(f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{site}")
    return ["run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


@asynccontextmanager
async def behind(name: str, folder: Path, upstream: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the server behind this proxy."""
    if (program := shutil.which(name)) is None:
        pytest.skip(f"{name} is not installed here")
    certificate, _ = self_signed(folder, HOST)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    command = [program, *{"nginx": nginx, "caddy": caddy}[name](folder, port, upstream)]
    environment = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    process = await anyio.open_process(command, env=environment, stdout=None, stderr=None)
    try:
        with anyio.fail_after(20):
            while True:
                try:
                    await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
                    break
                except OSError:
                    await anyio.sleep(0.05)
        async with httpx2.AsyncClient(
            base_url=f"https://{HOST}:{port}",
            verify=ssl.create_default_context(cafile=str(certificate)),
            timeout=20,
            transport=_ToThisMachine(certificate),
        ) as http:
            yield http
    finally:
        with anyio.CancelScope(shield=True):
            process.kill()
            await process.wait()


class _ToThisMachine(httpx2.AsyncHTTPTransport):
    """Goes to this machine whatever the name, as with an entry in /etc/hosts."""

    def __init__(self, certificate: Path) -> None:
        super().__init__(verify=ssl.create_default_context(cafile=str(certificate)))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.extensions = {**request.extensions, "sni_hostname": HOST}
        request.url = request.url.copy_with(host="127.0.0.1")
        return await super().handle_async_request(request)


@pytest.mark.parametrize("name", ["nginx", "caddy"])
async def test_a_client_behind_the_proxy_is_served_as_without_it(evi: FakeEvi, tmp_path: Path, name: str) -> None:
    """Streams arrive at once, the token passes, and what a client says of its own way is not believed."""
    evi.history[CHAT] = [frames.metadata(), frames.user("Hello?", 100)]
    token = add(tmp_path / "tokens.toml", "alice", access=Access.BARGE)
    settings: dict[str, Any] = {"tokens": str(tmp_path / "tokens.toml"), "public_url": f"https://{HOST}/mcp"}
    async with serving(evi, **settings) as served, behind(name, tmp_path, served.address) as http:
        assert (await http.post(PATH, **Raw(http).modern("tools/list"))).status_code == 401
        http.headers["Authorization"] = f"Bearer {token}"
        client = Raw(http)
        for lie in ({}, {"X-Forwarded-Proto": "http"}, {"X-Forwarded-For": "203.0.113.7"}):
            assert (await client.post("tools/list", headers=lie)).status_code == 200, lie
        answer = answer_of(await client.call("attach_chat", chat_id=CHAT))
        assert not answer["result"].get("isError")
        session = await client.initialize()
        listen = client.modern("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["evi://chats"]}})
        async with http.stream("POST", PATH, **listen) as stream:
            lines = stream.aiter_lines()
            with anyio.fail_after(5):
                seen = ""
                while "acknowledged" not in seen:
                    seen += await anext(lines) + "\n"
                await session.call("pause", chat_id=CHAT)
                while "resources/updated" not in seen:
                    seen += await anext(lines) + "\n"
        assert [event["method"] for event in events_of(seen)][-1] == "notifications/resources/updated"
        try:
            status = (await client.http.post(PATH, content=b"x" * (5 * 2**20))).status_code
        except httpx2.RemoteProtocolError:
            status = 0  # Caddy 2.6 hangs up in the middle of the answer at times
        assert status in (413, 502, 0) if name == "caddy" else status == 413
