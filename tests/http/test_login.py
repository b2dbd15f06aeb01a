"""From no token to a good one, over real sockets: the SDK's OAuth client, an authorization server, and this one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl, SecretStr

from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT, Agent
from tests.http.login import CLIENT, Login, login
from tests.http.rig import MODERN, Served, answer_of, serving

pytestmark = pytest.mark.anyio
BACK = "http://127.0.0.1:9/callback"


class Remembered:
    """What a client keeps of its logins."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@asynccontextmanager
async def logging_in(served: Served, era: str) -> AsyncIterator[Agent]:
    """An agent whose client has no token yet, and a person who agrees to whatever it asks for."""
    found: list[AuthorizationCodeResult] = []

    async def browse(url: str) -> None:
        async with httpx2.AsyncClient() as browser:
            answer = await browser.get(url, follow_redirects=False)
        query = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
        found.append(AuthorizationCodeResult(code=query["code"], state=query["state"], iss=query["iss"]))

    async def come_back() -> AuthorizationCodeResult:
        return found.pop()

    provider = OAuthClientProvider(
        served.url,
        OAuthClientMetadata(client_name="the SDK's", redirect_uris=[AnyUrl(BACK)], token_endpoint_auth_method="none"),
        Remembered(),
        browse,
        come_back,
    )
    async with httpx2.AsyncClient(auth=provider, timeout=30) as http:
        async with Client(streamable_http_client(served.url, http_client=http), mode=era) as client:
            yield Agent(client)


@asynccontextmanager
async def guarded(evi: FakeEvi, by: Login, **settings: Any) -> AsyncIterator[Served]:
    evi.history[CHAT] = [frames.metadata(), frames.user("Hello?", 100)]
    async with serving(evi, oauth_issuer=by.issuer, **settings) as served:
        yield served


async def test_a_client_logs_in_by_itself_and_asks_for_more_when_it_needs_it(evi: FakeEvi, era: str) -> None:
    """Metadata, registration, login; then a tool above its scopes: it is told which one is missing, and comes back."""
    async with login() as by, guarded(evi, by) as served, logging_in(served, era) as agent:
        await agent.call("attach_chat", chat_id=CHAT)
        assert by.scopes == ["evi:monitor evi:coach"] and by.asked["register"] == 1
        receipt = await agent.call("pause", chat_id=CHAT)
        assert receipt["command"] == "pause_assistant_message"
        assert [set(scope.split()) for scope in by.scopes] == [
            {"evi:monitor", "evi:coach"},
            {"evi:monitor", "evi:coach", "evi:barge"},
        ]
        assert [command["type"] for command in evi.received[CHAT]] == ["pause_assistant_message"], "once"
        assert by.asked["register"] == 1, "it is the same client"
        await agent.call("resume", chat_id=CHAT)
        assert len(by.scopes) == 2 and by.asked["keys"] == 1


async def test_keys_are_fetched_over_the_network_and_again_when_they_change(evi: FakeEvi) -> None:
    """The way that tests of the verifier leave out."""
    async with login() as by, guarded(evi, by) as served:
        claims = {"aud": served.url, "scope": "evi:monitor"}
        async with served.raw(by.issue(**claims)) as client:
            for _ in range(3):
                assert (await client.post("tools/list")).status_code == 200
        assert by.asked == {"metadata": 1, "keys": 1}
        by.keys = ["k2"]
        async with served.raw(by.issue(**claims)) as client:
            assert (await client.post("tools/list")).status_code == 200
        assert by.asked == {"metadata": 1, "keys": 2}
        async with served.raw(by.issue(**{**claims, "aud": "http://127.0.0.1:9/mcp"})) as client:
            assert (await client.post("tools/list")).status_code == 401


async def test_an_opaque_token_is_asked_about_over_the_network(evi: FakeEvi) -> None:
    """With the id and the secret of this server, which a wrong secret shows."""
    async with login(opaque=True) as by:
        secret = {"oauth_client_id": CLIENT[0], "oauth_client_secret": SecretStr(CLIENT[1])}
        async with guarded(evi, by, **secret) as served:
            good = by.issue(aud=served.url, scope="evi:monitor")
            async with served.raw(good) as client, served.raw("nobody's") as stranger:
                for _ in range(3):
                    assert (await client.call("list_chats")).status_code == 200
                assert (await stranger.call("list_chats")).status_code == 401
            assert by.asked["introspect"] == 2
        wrong = {**secret, "oauth_client_secret": SecretStr("wrong")}
        async with guarded(evi, by, **wrong) as served, served.raw(good) as client:
            answer = await client.call("list_chats")
            assert answer.status_code == 503, "nobody knows whether the token is good"


async def test_an_opaque_token_logs_a_client_in_as_well(evi: FakeEvi) -> None:
    """To the client it makes no difference."""
    async with login(opaque=True) as by:
        secret = {"oauth_client_id": CLIENT[0], "oauth_client_secret": SecretStr(CLIENT[1])}
        async with guarded(evi, by, **secret) as served, logging_in(served, MODERN) as agent:
            await agent.call("attach_chat", chat_id=CHAT)
            await agent.call("pause", chat_id=CHAT)
            assert len(by.scopes) == 2


async def test_an_issuer_that_is_gone_says_try_again(evi: FakeEvi) -> None:
    """A real refusal of a connection: 503, since a client would throw a good token away at a 401."""
    async with login() as by:
        pass
    async with guarded(evi, by) as served, served.raw(by.issue(aud=served.url, scope="evi:monitor")) as client:
        answer = await client.post("tools/list")
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
        assert "issuer" in answer_of(answer)["error"]["message"]
