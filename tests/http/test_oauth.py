"""OAuth: which tokens open the door, what their scopes allow, and what becomes of it while the issuer is away."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from evi_mcp.access import issuer as issuers
from evi_mcp.access.issuer import Issuer
from evi_mcp.access.oauth import OAuthTokens
from evi_mcp.access.refusals import NoScope, TokenRefused, TokenUnverified
from evi_mcp.server.http import serve
from evi_mcp.server.http.app import PATH
from tests import frames
from tests.clocks import HandClock
from tests.fake_evi import FakeEvi
from tests.harness import CHAT
from tests.http.rig import Served, answer_of, serving

pytestmark = pytest.mark.anyio

ISSUER = "https://login.example.com/tenant/"
RESOURCE = "https://evi.example.com/mcp"
KEYS: dict[str, tuple[Any, str]] = {
    "k1": (rsa.generate_private_key(public_exponent=65537, key_size=2048), "RS256"),
    "k2": (ec.generate_private_key(ec.SECP256R1()), "ES256"),
    "k3": (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
}
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_TO_JWK = {"RS": jwt.algorithms.RSAAlgorithm, "ES": jwt.algorithms.ECAlgorithm, "Ed": jwt.algorithms.OKPAlgorithm}


def jwk(kid: str) -> dict[str, Any]:
    key, algorithm = KEYS[kid]
    made = _TO_JWK[algorithm[:2]].to_jwk(key.public_key(), as_dict=True)  # type: ignore[attr-defined]
    return {**made, "kid": kid, "use": "sig"}


def token(kid: str = "k1", *, key: Any = None, headers: Mapping[str, Any] | None = None, **claims: Any) -> str:
    """A token of the issuer; claims that are `None` are left out."""
    now = int(time.time())
    given = {
        "iss": ISSUER,
        "aud": RESOURCE,
        "sub": "alice",
        "scope": "evi:monitor",
        "client_id": "cli",
        "iat": now,
        "exp": now + 100_000,
        **claims,
    }
    shown = {name: value for name, value in given.items() if value is not None}
    made = {"kid": kid, "typ": "at+jwt", **(headers or {})}
    return jwt.encode(shown, key or KEYS[kid][0], algorithm=KEYS[kid][1], headers=made)


def signed_with_the_public_key() -> str:
    """HS256, with what everybody knows for a secret."""
    pem = (
        KEYS["k1"][0]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )

    def encoded(part: bytes) -> bytes:
        return base64.urlsafe_b64encode(part).rstrip(b"=")

    claims = {"iss": ISSUER, "aud": RESOURCE, "sub": "eve", "scope": "evi:barge", "exp": int(time.time()) + 100_000}
    signed = encoded(json.dumps({"alg": "HS256", "kid": "k1"}).encode()) + b"." + encoded(json.dumps(claims).encode())
    return (signed + b"." + encoded(hmac.new(pem, signed, hashlib.sha256).digest())).decode()


class Login:
    """An authorization server, as `Ask` reaches it."""

    def __init__(self) -> None:
        self.keys = ["k1", "k2", "k3"]
        self.is_up = True
        self.asked: list[str] = []
        self.known: dict[str, dict[str, Any]] = {}
        self.metadata: dict[str, Any] = {
            "issuer": ISSUER,
            "jwks_uri": "https://login.example.com/keys",
            "introspection_endpoint": "https://login.example.com/introspect",
        }

    async def get(self, url: str) -> Any:
        self.asked.append(url)
        if not self.is_up:
            raise TokenUnverified("its issuer does not answer")
        if url.endswith("/keys"):
            return {"keys": [{"kty": "oct", "k": "AAAA", "kid": "k1"}, {"kty": "RSA"}, *map(jwk, self.keys)]}
        if url == "https://login.example.com/.well-known/openid-configuration/tenant":
            return self.metadata
        raise TokenUnverified("its issuer does not answer as it should (HTTP 404)")

    async def post(self, url: str, form: Mapping[str, str], client: tuple[str, str]) -> Any:
        self.asked.append(url)
        if not self.is_up:
            raise TokenUnverified("its issuer does not answer")
        assert client == ("evi-mcp", "secret-of-evi-mcp")
        return self.known.get(form["token"], {"active": False})

    async def aclose(self) -> None:
        """As `Asking.aclose`."""

    def count(self, end: str) -> int:
        return sum(url.endswith(end) for url in self.asked)


@pytest.fixture
def login() -> Login:
    return Login()


@pytest.fixture
async def served(evi: FakeEvi, login: Login, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    """A server that takes the tokens of this issuer."""
    monkeypatch.setattr(serve, "Asking", lambda clock: login)
    evi.history[CHAT] = [frames.metadata(), frames.user("Hello?", 100)]
    async with serving(evi, oauth_issuer=ISSUER, public_url=RESOURCE) as served:
        yield served


NOW = int(time.time())
REFUSED = {
    "the algorithm none": jwt.encode(
        {"iss": ISSUER, "aud": RESOURCE, "sub": "x", "scope": "evi:barge", "exp": NOW + 100_000}, "", algorithm="none"
    ),
    "HS256 with the public key": signed_with_the_public_key(),
    "a key of somebody else": token(key=STRANGER),
    "an unknown key": token(headers={"kid": "k9"}),
    "another key of the issuer": token("k1", headers={"kid": "k2"}),
    "another audience": token(aud="https://other.example.com/mcp"),
    "no audience": token(aud=None),
    "another issuer": token(iss="https://login.example.com/other/"),
    "an issuer without its slash": token(iss=ISSUER.rstrip("/")),
    "no subject": token(sub=None),
    "no end": token(exp=None),
    "an end that is past": token(exp=NOW - 60),
    "a beginning that is to come": token(nbf=NOW + 10_000),
    "an issue that is to come": token(iat=NOW + 10_000),
    "a token of another type": token(headers={"typ": "logout+jwt"}),
    "chats that cannot be read": token(evi_chats={"all": True}),
    "chats that are no chats": token(evi_chats=["../secret"]),
    "a tenant that is not served": token(evi_tenant="other"),
    "no JWT": "opaque-token",
    "half a JWT": token().rsplit(".", 1)[0],
}


@pytest.mark.parametrize("what", REFUSED)
async def test_a_token_is_refused_for(served: Served, what: str) -> None:
    """Each of them has opened somebody's door: RFC 8725 has the list."""
    async with served.raw(REFUSED[what]) as client:
        answer = await client.post("tools/list", headers={"Host": "evi.example.com"})
    assert answer.status_code == 401, answer.text
    challenge = answer.headers["www-authenticate"]
    assert (
        challenge.startswith('Bearer error="invalid_token", error_description="') and "resource_metadata=" in challenge
    )
    assert REFUSED[what] not in answer.text


@pytest.mark.parametrize("kid", KEYS)
async def test_a_token_of_each_kind_of_key_is_taken(served: Served, kid: str) -> None:
    """`aud` may be a list, and scopes may be in `scp`."""
    good = token(kid, aud=["https://other.example.com", RESOURCE], scope=None, scp=["evi:monitor"])
    async with served.raw(good) as client:
        assert (await client.call("list_chats")).status_code == 200


async def test_who_has_no_token_is_told_where_to_get_one(served: Served) -> None:
    """The challenge and the metadata, to the letter: clients begin with them (RFC 9728; MCP, authorization)."""
    where = "https://evi.example.com/.well-known/oauth-protected-resource/mcp"
    async with served.raw() as client:
        answer = await client.call("list_chats")
        assert answer.status_code == 401
        scopes = "evi:monitor evi:coach"
        assert answer.headers["www-authenticate"] == f'Bearer scope="{scopes}", resource_metadata="{where}"'
        for path in (where.removeprefix("https://evi.example.com"), "/.well-known/oauth-protected-resource"):
            found = await client.http.get(path)
            assert found.status_code == 200 and found.headers["access-control-allow-origin"] == "*"
            assert found.json() == {
                "resource": RESOURCE,
                "authorization_servers": [ISSUER],
                "scopes_supported": ["evi:monitor", "evi:coach"],
                "bearer_methods_supported": ["header"],
                "resource_name": "evi-mcp",
            }


async def test_a_missing_scope_is_named_in_the_challenge_and_in_words(served: Served, evi: FakeEvi) -> None:
    """Clients step up by the first, and models read the second; what is hidden is asked for by nobody."""
    async with served.raw(token()) as client, served.raw(token(scope="openid evi:barge")) as stepped_up:
        listed = answer_of(await client.post("tools/list"))["result"]["tools"]
        assert {"pause", "answer_tool_call"} <= {tool["name"] for tool in listed}
        assert (await client.call("attach_chat", chat_id=CHAT)).status_code == 200
        session = await client.initialize()
        for answer in (await client.call("pause", chat_id=CHAT), await session.call("pause", chat_id=CHAT)):
            assert answer.status_code == 403
            assert answer.headers["www-authenticate"] == (
                'Bearer error="insufficient_scope", error_description="evi:barge is needed",'
                ' scope="evi:monitor evi:barge",'
                ' resource_metadata="https://evi.example.com/.well-known/oauth-protected-resource/mcp"'
            )
            body = answer.json()
            assert body["id"] == 1 and "needs the scope 'evi:barge'" in body["error"]["message"]
        assert evi.received[CHAT] == []
        session.http = stepped_up.http  # the same holder goes on in its session with the new token
        assert (await session.call("pause", chat_id=CHAT)).status_code == 200
        assert [command["type"] for command in evi.received[CHAT]] == ["pause_assistant_message"]
    async with served.raw(token(scope="openid")) as client:
        answer = await client.post("tools/list")
        assert answer.status_code == 403 and 'scope="evi:monitor"' in answer.headers["www-authenticate"]


async def test_a_session_is_its_holders_alone(served: Served) -> None:
    """To anybody else it is one that does not exist."""
    async with served.raw(token()) as alice, served.raw(token(sub="bob")) as bob:
        session = await alice.initialize()
        assert (await session.post("tools/list")).status_code == 200
        session.http = bob.http
        assert (await session.post("tools/list")).status_code == 404


async def test_the_claim_of_chats_narrows_what_is_seen(served: Served, evi: FakeEvi) -> None:
    """Rights are the smallest of server, token and claim."""
    evi.history["chat-2"] = [frames.metadata("chat-2"), frames.user("Hello?", 100)]
    limited = token(evi_chats=[CHAT])
    async with served.raw(token()) as client, served.raw(limited) as narrow:
        for chat_id in (CHAT, "chat-2"):
            assert (await client.call("attach_chat", chat_id=chat_id)).status_code == 200
        shown = answer_of(await narrow.call("list_chats"))["result"]["structuredContent"]["chats"]
        assert [chat["chat_id"] for chat in shown] == [CHAT]
        assert answer_of(await narrow.call("get_chat", chat_id="chat-2"))["result"]["isError"]
    async with served.raw(token(evi_chats=[])) as none:
        assert answer_of(await none.call("list_chats"))["result"]["structuredContent"]["chats"] == []


class Tokens:
    """The verifier by itself, with a clock that is moved by hand."""

    def __init__(self, login: Login, client: tuple[str, str] | None = None) -> None:
        self.clock = HandClock()
        self.verifier = OAuthTokens(Issuer(ISSUER, login, self.clock), [RESOURCE], self.clock, client)

    async def refusal(self, given: str) -> str:
        try:
            await self.verifier.verify(given)
        except (TokenRefused, TokenUnverified) as refused:
            return f"{type(refused).__name__}: {refused.why}"
        pytest.fail("it was taken")


async def test_new_keys_are_found_and_old_ones_forgotten(login: Login) -> None:
    """Issuers rotate their keys, and tell nobody."""
    login.keys, tokens = ["k1"], Tokens(login)
    await tokens.verifier.verify(token("k1"))
    login.keys = ["k2"]
    await tokens.verifier.verify(token("k2"))  # a key that is not known is looked for at once
    assert login.count("/keys") == 2
    assert "key" in await tokens.refusal(token("k1"))


async def test_nobody_can_make_us_storm_the_issuer(login: Login) -> None:
    """A thousand tokens with keys that nobody knows ask it once a minute."""
    tokens = Tokens(login)
    for number in range(100):
        await tokens.refusal(token(headers={"kid": f"unknown-{number}"}))
    assert login.count("/keys") == 2
    await tokens.clock.advance(issuers.UNKNOWN_S)
    await tokens.refusal(token(headers={"kid": "unknown"}))
    assert login.count("/keys") == 3


async def test_an_issuer_that_is_down_locks_nobody_out_for_an_hour(login: Login) -> None:
    """Then nobody knows whether its keys are still good: 503, since the token may be fine."""
    tokens = Tokens(login)
    await tokens.verifier.verify(token())
    login.is_up = False
    await tokens.clock.advance(issuers.FRESH_S + 1)
    await tokens.verifier.verify(token())
    asked = len(login.asked)
    await tokens.verifier.verify(token())
    assert len(login.asked) == asked, "it is not asked again at once"
    await tokens.clock.advance(issuers.STALE_S)
    assert (await tokens.refusal(token())).startswith("TokenUnverified")
    login.is_up = True
    await tokens.clock.advance(issuers.RETRY_S)
    await tokens.verifier.verify(token())


async def test_an_issuer_that_cannot_be_reached_is_503_and_not_401(served: Served, login: Login) -> None:
    """A client would throw a good token away."""
    login.is_up = False
    async with served.raw(token()) as client:
        answer = await client.post("tools/list")
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("changed", [{"issuer": "https://login.example.com/other/"}, {"jwks_uri": "http://x/keys"}])
async def test_metadata_of_somebody_else_are_not_believed(login: Login, changed: dict[str, str]) -> None:
    """They would have us take the keys of whoever wrote them."""
    login.metadata |= changed
    assert (await Tokens(login).refusal(token())).startswith("TokenUnverified")


async def test_an_opaque_token_is_asked_about(login: Login) -> None:
    """Its answer counts for a minute; then it may have been revoked, which ends what it has opened."""
    tokens = Tokens(login, ("evi-mcp", "secret-of-evi-mcp"))
    good: dict[str, Any] = {
        "active": True,
        "sub": "alice",
        "aud": RESOURCE,
        "scope": "evi:coach",
        "exp": NOW + 100_000,
        "client_id": "c",
    }
    login.known["opaque"] = good
    principal = await tokens.verifier.verify("opaque")
    assert principal.subject == "alice" and principal.rights.access.value == "coach"
    for _ in range(3):
        await tokens.verifier.verify("opaque")
    assert login.count("/introspect") == 1
    login.known["opaque"] = {"active": False}
    assert not await tokens.verifier.is_revoked(principal)
    await tokens.clock.advance(61)
    assert await tokens.verifier.is_revoked(principal)
    assert "does not know it" in await tokens.refusal("opaque")
    wrongs: list[dict[str, Any]] = [{"aud": "other"}, {"aud": None}, {"iss": "other"}, {"exp": NOW - 60}, {"sub": ""}]
    for number, wrong in enumerate(wrongs):
        login.known[f"wrong-{number}"] = {**good, **wrong}
        assert (await tokens.refusal(f"wrong-{number}")).startswith("TokenRefused")
    login.known["none"] = {**good, "scope": "openid"}
    with pytest.raises(NoScope):
        await tokens.verifier.verify("none")
    login.is_up = False
    assert (await tokens.refusal("another")).startswith("TokenUnverified")


async def test_both_kinds_of_tokens_have_a_path_each(
    evi: FakeEvi, login: Login, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """A static token is no OAuth token, and the challenge of one would mislead the holder of the other."""
    from evi_mcp.access.callers import Access
    from evi_mcp.access.token_edits import add

    monkeypatch.setattr(serve, "Asking", lambda clock: login)
    static = add(tmp_path / "tokens.toml", "bob", access=Access.MONITOR)
    async with serving(evi, oauth_issuer=ISSUER, public_url=RESOURCE, tokens=str(tmp_path / "tokens.toml")) as served:
        for given, good_at in ((static, f"{PATH}/token"), (token(), PATH)):
            async with served.raw(given) as client:
                for path in (PATH, f"{PATH}/token"):
                    answer = await client.http.post(path, **client.modern("tools/list"))
                    assert answer.status_code == (200 if path == good_at else 401)
                    if answer.status_code == 401:
                        assert ("resource_metadata" in answer.headers["www-authenticate"]) == (path == PATH)
