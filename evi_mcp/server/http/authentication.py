"""Whose request it is: the token in its header becomes a principal in its ASGI scope."""

import ipaddress
import logging
from typing import Protocol

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, AuthorizationContext, authorization_context
from mcp.server.auth.provider import AccessToken
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from evi_mcp.access.callers import Access
from evi_mcp.access.principals import Principal, scopes_up_to
from evi_mcp.access.refusals import NoScope, TokenRefused, TokenUnverified
from evi_mcp.logs import fields
from evi_mcp.server.callers import PRINCIPAL
from evi_mcp.server.http.answers import busy
from evi_mcp.server.http.challenge import Challenge

MAX_TOKEN = 16 * 1024
"""Characters of the longest token that is looked at."""

_log = logging.getLogger(__name__)


class Verifier(Protocol):
    """Says whom a token stands for."""

    async def verify(self, token: str) -> Principal:
        """Whoever it was given to.

        Raises:
            TokenRefused: It opens nothing.
            NoScope: It is good, and for something else.
            TokenUnverified: Nobody can say now.
        """
        ...

    async def is_revoked(self, principal: Principal) -> bool:
        """Whether a token that was good, and has not expired, is no more. Asked every second of those in use."""
        ...


class Authentication:
    """Lets requests with a good token pass.

    Args:
        allow_plain_http: Whether a token may come over http from another machine.
    """

    def __init__(self, app: ASGIApp, verifier: Verifier, challenge: Challenge, *, allow_plain_http: bool) -> None:
        self._app = app
        self._verifier = verifier
        self._challenge = challenge
        self._allow_plain_http = allow_plain_http

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            token = _token(scope)
            if token is None:
                answer = self._challenge.missing()
            elif not (self._allow_plain_http or scope["scheme"] == "https" or _is_local(scope)):
                _log.warning("a token came over plain http", extra=fields(client=(scope.get("client") or ("?",))[0]))
                answer = self._challenge.plain_http()
            else:
                principal = await self._verifier.verify(token)
                known = {**scope, PRINCIPAL: principal, "user": _user(principal)}
                return await self._app(known, receive, send)
        except TokenRefused as error:
            _log.info("a token is refused", extra=fields(reason=error.why))
            answer = self._challenge.invalid(error.why)
        except NoScope:
            answer = self._challenge.insufficient("", Access.MONITOR, None)
        except TokenUnverified as error:
            _log.warning("a token cannot be checked", extra=fields(reason=error.why))
            answer = busy(str(error))
        await answer(scope, receive, send)


def owner_of(principal: Principal) -> AuthorizationContext:
    """Whose handshake sessions are whose, in the words of the SDK."""
    return authorization_context(_user(principal))


def _token(scope: Scope) -> str | None:
    """The token in the header; one in the address is none, since addresses end up in logs."""
    found = Headers(scope=scope).getlist("authorization")
    if not found:
        return None
    scheme, _, token = found[0].partition(" ")
    if len(found) > 1 or scheme.lower() != "bearer":
        return None
    if len(token := token.strip()) > MAX_TOKEN:
        raise TokenRefused("it is too long")
    return token or None


def _is_local(scope: Scope) -> bool:
    """Whether the request has never left this machine."""
    try:
        return ipaddress.ip_address((scope.get("client") or ("",))[0]).is_loopback
    except ValueError:
        return False


def _user(principal: Principal) -> AuthenticatedUser:
    """For the SDK, which binds handshake sessions to it. The token itself stays out of it."""
    return AuthenticatedUser(
        AccessToken(
            token="",
            client_id=principal.client,
            scopes=scopes_up_to(principal.rights.access),
            subject=principal.subject,
            claims={"iss": principal.issuer},
        )
    )
