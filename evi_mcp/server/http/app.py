"""The whole web application: what a request passes on its way to MCP, and what is served beside it.

CORS -> host and origin -> route -> token -> body -> gate -> running -> the sessions of the tenant
"""

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from evi_mcp.access.principals import Principal
from evi_mcp.access.refusals import TokenRefused
from evi_mcp.server.callers import PRINCIPAL
from evi_mcp.server.http import metrics
from evi_mcp.server.http.authentication import Authentication, Verifier
from evi_mcp.server.http.body import WholeBody
from evi_mcp.server.http.challenge import Challenge
from evi_mcp.server.http.gate import Gate, Load
from evi_mcp.server.http.guard import LOOPBACK_ORIGIN, Allowed, Guard
from evi_mcp.server.http.running import Running
from evi_mcp.server.http.tenants import DEFAULT, Tenant, Tenants

PATH = "/mcp"
STATIC_PATH = "/mcp/token"
"""Where static tokens are taken if `PATH` takes those of OAuth."""


class Door(NamedTuple):
    """A path at which MCP is served, and whose tokens are good there. `verifier` is `None` where none is asked for."""

    path: str
    verifier: Verifier | None
    challenge: Challenge


class Web:
    """The application, and the state that its requests share.

    Args:
        tenants: Whom it serves.
        doors: Where.
        allowed: What requests may say of themselves.
        most: Waits of each tenant, and streams, at once.
        allow_plain_http: As for `Authentication`.
        more: Routes to be served beside MCP.
    """

    def __init__(
        self,
        tenants: Tenants,
        doors: Sequence[Door],
        allowed: Allowed,
        *,
        most: int,
        allow_plain_http: bool = False,
        more: Sequence[BaseRoute] = (),
    ) -> None:
        self.tenants = tenants
        self.doors = doors
        self.running = Running(self._serve, self._refuse)
        self.draining = False
        """Whether a load balancer is to send its requests elsewhere."""
        self.leaving = False
        """Whether requests are refused."""
        self._most = most
        self._allow_plain_http = allow_plain_http
        routes: list[BaseRoute] = [Route("/healthz", self._healthz), Route("/readyz", self._readyz)]
        for door in doors:
            inside = WholeBody(Gate(self.running, door.challenge, self._load))
            routes.append(Route(door.path, _Asgi(self._behind(door, inside))))
            if door.path == PATH:
                routes.append(Route("/metrics", _Asgi(self._behind(door, self._metrics)), methods=["GET"]))
            if door.challenge.has_metadata:
                routes += [Route(path, door.challenge.metadata) for path in door.challenge.metadata_paths]
        self.app: ASGIApp = CORSMiddleware(
            Guard(Starlette(routes=[*routes, *more]), allowed),
            allow_origins=sorted(allowed.origins),
            allow_origin_regex=LOOPBACK_ORIGIN if allowed.local_pages else None,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["Mcp-Session-Id", "WWW-Authenticate", "Retry-After"],
        )

    async def end_revoked(self) -> None:
        """Ends the requests whose token is good no more."""
        self.running.end_expired()
        for principal in self.running.holders():
            tenant = self.tenants.find(principal.tenant)
            verifier = next(door.verifier for door in self.doors if door.challenge.has_metadata != principal.is_static)
            if tenant is None or verifier is None or await verifier.is_revoked(principal):
                self.running.end_of(principal)
                if tenant is not None:
                    await tenant.end_of(principal)

    def _behind(self, door: Door, app: ASGIApp) -> ASGIApp:
        if door.verifier is None:
            return app
        known = _OfTenant(app, self.tenants)
        return Authentication(known, door.verifier, door.challenge, allow_plain_http=self._allow_plain_http)

    def _tenant(self, scope: Scope) -> Tenant:
        principal: Principal | None = scope.get(PRINCIPAL)
        tenant = self.tenants.find(principal.tenant if principal is not None else DEFAULT)
        if tenant is None:
            raise TokenRefused("its tenant is not served here")
        return tenant

    def _load(self, scope: Scope) -> Load | None:
        if self.leaving:
            return None
        service = self._tenant(scope).service
        return Load(service.registry.waits.count, self.running.streams, self._most, service.rights.access)

    def _refuse(self, scope: Scope) -> Response:
        """Answers a request whose token has ended meanwhile."""
        door = next((door for door in self.doors if door.path == scope["path"]), self.doors[0])
        return door.challenge.invalid("it has ended")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._tenant(scope).sessions.handle_request(scope, receive, send)

    async def _healthz(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, request: Request) -> Response:
        return PlainTextResponse("draining\n", status_code=503) if self.draining else PlainTextResponse("ready\n")

    async def _metrics(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The operator's numbers to whoever belongs to no tenant, to all others their own."""
        name = self._tenant(scope).name
        shown = [tenant for tenant in self.tenants if name in (DEFAULT, tenant.name)]
        body = metrics.text(shown, self.running if name == DEFAULT else None)
        await Response(body, media_type=metrics.CONTENT_TYPE)(scope, receive, send)


class _OfTenant:
    """Refuses tokens of tenants that are not served."""

    def __init__(self, app: ASGIApp, tenants: Tenants) -> None:
        self._app, self._tenants = app, tenants

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._tenants.find(scope[PRINCIPAL].tenant) is None:
            raise TokenRefused("its tenant is not served here")
        await self._app(scope, receive, send)


class _Asgi:
    """Lets Starlette take an ASGI application for one, whatever it is made of."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def resource_url(public_url: str | None, bound: str) -> str:
    """The URL of the resource that tokens are issued for: the public one, with `/mcp` if it names no path."""
    if public_url is None:
        return f"http://{bound}{PATH}"
    return public_url if urlsplit(public_url).path.strip("/") else f"{public_url.rstrip('/')}{PATH}"
