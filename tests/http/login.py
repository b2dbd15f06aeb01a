"""An authorization server over a real socket: registers clients, lets everybody in who asks, and issues tokens."""

import base64
import hashlib
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from evi_mcp.hub.server import serving
from evi_mcp.serving import listen
from tests.http.test_oauth import KEYS, jwk

CLIENT = "evi-mcp", "secret-of-evi-mcp"
"""The resource server, where it asks about tokens."""


class Login:
    """What it knows. `opaque`: its tokens are no JWTs."""

    def __init__(self, address: str, *, opaque: bool) -> None:
        self._address, self._opaque = address, opaque
        self.issuer = f"{address}/tenant"
        self.asked: Counter[str] = Counter()
        """How often each path was asked for."""
        self.scopes: list[str] = []
        """What clients have asked for at each login."""
        self.issued: dict[str, dict[str, Any]] = {}
        self.revoked: set[str] = set()
        self.keys = ["k1"]
        self._codes: dict[str, dict[str, str]] = {}

    @property
    def routes(self) -> list[Route]:
        """Its pages."""
        return [
            Route("/.well-known/oauth-authorization-server/tenant", self._metadata),
            Route("/register", self._register, methods=["POST"]),
            Route("/authorize", self._authorize),
            Route("/token", self._token, methods=["POST"]),
            Route("/keys", self._keys),
            Route("/introspect", self._introspect, methods=["POST"]),
        ]

    async def _metadata(self, request: Request) -> Response:
        self.asked["metadata"] += 1
        names = {
            "authorization": "authorize",
            "token": "token",
            "registration": "register",
            "introspection": "introspect",
        }
        return JSONResponse(
            {
                "issuer": self.issuer,
                **{f"{name}_endpoint": f"{self._address}/{path}" for name, path in names.items()},
                "jwks_uri": f"{self._address}/keys",
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code"],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["none"],
            }
        )

    async def _register(self, request: Request) -> Response:
        self.asked["register"] += 1
        return JSONResponse({**await request.json(), "client_id": secrets.token_hex(8)}, 201)

    async def _authorize(self, request: Request) -> Response:
        """The person at the browser says yes."""
        asked = dict(request.query_params)
        self.scopes.append(asked["scope"])
        code = secrets.token_hex(8)
        self._codes[code] = asked
        query = urlencode({"code": code, "state": asked["state"], "iss": self.issuer})
        return RedirectResponse(f"{asked['redirect_uri']}?{query}", 302)

    async def _token(self, request: Request) -> Response:
        form = await request.form()
        asked = self._codes.pop(str(form["code"]))
        digest = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
        token = self.issue(aud=asked["resource"], scope=asked["scope"], client_id=asked["client_id"])
        return JSONResponse(
            {"access_token": token, "token_type": "Bearer", "expires_in": 3600, "scope": asked["scope"]}
        )

    def issue(self, **claims: Any) -> str:
        """A token with these claims."""
        now = int(time.time())
        made = {"iss": self.issuer, "sub": "alice", "iat": now, "exp": now + 3600, **claims}
        kid = self.keys[0]
        token = secrets.token_hex(16) if self._opaque else self._signed(made, kid)
        self.issued[token] = made
        return token

    def _signed(self, claims: dict[str, Any], kid: str) -> str:
        key, algorithm = KEYS[kid]
        return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid, "typ": "at+jwt"})

    async def _keys(self, request: Request) -> Response:
        self.asked["keys"] += 1
        return JSONResponse({"keys": [jwk(kid) for kid in self.keys]})

    async def _introspect(self, request: Request) -> Response:
        self.asked["introspect"] += 1
        shown = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
        if shown != ":".join(CLIENT):
            return JSONResponse({"error": "invalid_client"}, 401)
        token = str((await request.form())["token"])
        known = None if token in self.revoked else self.issued.get(token)
        return JSONResponse({"active": True, **known} if known is not None else {"active": False})


@asynccontextmanager
async def login(*, opaque: bool = False) -> AsyncIterator[Login]:
    """An authorization server that listens."""
    listener = listen("127.0.0.1", 0)
    made = Login(f"http://127.0.0.1:{listener.getsockname()[1]}", opaque=opaque)

    async def nothing() -> None:
        """There is nothing to wait for."""

    async with serving(Starlette(routes=made.routes), listener, before_stop=nothing):
        yield made
