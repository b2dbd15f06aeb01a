"""`evi-mcp doctor` of a server over HTTP: what would keep it from starting, or callers from coming in."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from evi_mcp.access.callers import Access
from evi_mcp.access.token_edits import add
from evi_mcp.hub.server import serving as serving_app
from evi_mcp.serving import listen
from evi_mcp.simulator.openai import OpenAISimulator
from tests.fake_evi import KEY, FakeEvi
from tests.http.rig import tokens_file
from tests.process.test_commands import told

pytestmark = pytest.mark.anyio
EXPIRED = '[[token]]\nname = "old"\nsha256 = "' + "0" * 64 + '"\nexpires = 2020-01-01T00:00:00Z\n'


@asynccontextmanager
async def issuer(pages: Mapping[str, Any]) -> AsyncIterator[str]:
    """A web server with these pages of JSON, by path; in them URL is its own address."""
    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    async def answer(request: Any) -> Response:
        page = pages.get(request.url.path)
        return (
            Response(status_code=404)
            if page is None
            else JSONResponse(json.loads(json.dumps(page).replace("URL", url)))
        )

    async def nothing() -> None:
        """There is nothing to wait for."""

    async with serving_app(Starlette(routes=[Route("/{path:path}", answer)]), listener, before_stop=nothing):
        yield url


async def test_a_server_that_could_start_is_told_so(evi: FakeEvi, tmp_path: Path) -> None:
    """One line for each thing that may be wrong."""
    file = tmp_path / "tokens.toml"
    tokens_file(file, f'[tenant.acme]\nhume_api_key = "k"\nbase_url = "{evi.base_url}"\n' + EXPIRED)
    add(file, "alice", access=Access.BARGE)
    status, checks = await told(
        EVI_MCP_BASE_URL=evi.base_url, HUME_API_KEY=KEY, EVI_MCP_HTTP="127.0.0.1:0", EVI_MCP_TOKENS=str(file)
    )
    assert status == 0, checks
    assert checks["address"] == "ok 127.0.0.1:0, this machine alone reaches it"
    assert checks["tokens"].endswith("1 that are good, 1 that have expired, 1 tenants")
    assert checks["tenant acme"].startswith("ok ") and checks["connections"].startswith("ok ")


async def test_tenants_with_keys_need_none_of_the_server(evi: FakeEvi, tmp_path: Path) -> None:
    """The server's own key would be for callers of no tenant."""
    file = tmp_path / "tokens.toml"
    tokens_file(file, f'[tenant.acme]\nhume_api_key = "k"\nbase_url = "{evi.base_url}"\n')
    add(file, "alice", access=Access.BARGE, tenant="acme")
    status, checks = await told(EVI_MCP_BASE_URL=evi.base_url, EVI_MCP_TOKENS=str(file))
    assert status == 0 and "tenants have keys of their own" in checks["key"], checks


@pytest.mark.parametrize(
    ("settings", "tokens", "check", "said"),
    [
        ({"EVI_MCP_HTTP": "0.0.0.0:0"}, None, "address", "is open to other machines"),
        ({"EVI_MCP_HTTP": "127.0.0.1:0", "EVI_MCP_CLAUDE_CHANNEL": "on"}, None, "address", "is for stdio"),
        ({}, "", "tokens", "it has no token, so nobody comes in"),
        ({}, EXPIRED, "tokens", "all of its tokens have expired"),
        ({}, "[[token", "tokens", "it is not TOML"),
        ({}, "[tenant.acme]\n", "tenant acme", "it has no hume_api_key"),
        ({"EVI_MCP_MAX_WAITS": "100000"}, None, "connections", "lower them"),
        ({"EVI_MCP_OAUTH_ISSUER": "http://127.0.0.1:9"}, None, "issuer", "does not answer"),
        (
            {"EVI_MCP_HTTP": "0.0.0.0:0", "EVI_MCP_OAUTH_ISSUER": "http://127.0.0.1:9"},
            None,
            "resource",
            "set EVI_MCP_PUBLIC_URL",
        ),
    ],
)
async def test_what_is_wrong_is_said_with_what_to_do(
    evi: FakeEvi, tmp_path: Path, settings: dict[str, str], tokens: str | None, check: str, said: str
) -> None:
    """Before the first caller finds out."""
    given = {"EVI_MCP_HTTP": "127.0.0.1:0", **settings}
    if tokens is not None:
        given["EVI_MCP_TOKENS"] = str(tokens_file(tmp_path / "tokens.toml", tokens))
    status, checks = await told(EVI_MCP_BASE_URL=evi.base_url, HUME_API_KEY=KEY, **given)
    assert status == 1 and checks[check].startswith("FAIL ") and said in checks[check], checks


async def test_the_issuer_is_asked_for_its_keys() -> None:
    """A typing error in its address refuses every caller, with a message about their tokens."""
    metadata = {"issuer": "URL", "jwks_uri": "URL/keys"}
    key = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "k1"}
    pages = {"/.well-known/oauth-authorization-server": metadata, "/keys": {"keys": [key]}}
    async with issuer(pages) as url:
        _, checks = await told(EVI_MCP_OAUTH_ISSUER=url)
        assert checks["issuer"] == f"ok {url} answers, with 1 usable key"
        _, checks = await told(EVI_MCP_OAUTH_ISSUER=f"{url}/")
        assert checks["issuer"].startswith("FAIL the metadata of its issuer are those of another")
    async with issuer({**pages, "/keys": {"keys": []}}) as url:
        _, checks = await told(EVI_MCP_OAUTH_ISSUER=url)
        assert checks["issuer"].startswith("FAIL its issuer has no key that can be used")


async def test_the_key_for_calls_is_tried_on_a_call_that_there_is_not() -> None:
    """404 says that the key is good; nothing else can be asked without a call."""
    async with OpenAISimulator(api_key="good-key") as service:
        where = {"EVI_MCP_OPENAI_BASE_URL": service.base_url}
        status, checks = await told(OPENAI_API_KEY="good-key", **where)
        assert status == 0 and "accepts the key" in checks["calls"]
        assert "no chats of EVI" in checks["key"]
        status, checks = await told(OPENAI_API_KEY="bad-key", **where)
        assert status == 1 and "OPENAI_API_KEY" in checks["calls"] and "bad-key" not in str(checks)
