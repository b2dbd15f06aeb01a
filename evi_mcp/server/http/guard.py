"""Which requests are looked at at all: by the host that they name, and the web page that they come from.

A web page can make a browser send requests to a server on the same machine, or to a name that it has pointed there
(DNS rebinding). The specification of MCP asks for the check of `Origin` (streamable HTTP, security); the one of `Host`
catches pages that pass for one of this server's own.
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from evi_mcp.server.http.answers import problem

LOOPBACK_ORIGIN = r"http://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?"
_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True)
class Allowed:
    """What requests may say of themselves.

    Args:
        hosts: Names and addresses, without a port; `None` allows any.
        origins: Of web pages.
        local_pages: Whether pages of this machine may, from any port.
    """

    hosts: frozenset[str] | None
    origins: frozenset[str]
    local_pages: bool

    def host(self, host: str) -> bool:
        """Whether a request may name this host."""
        return self.hosts is None or _without_port(host) in self.hosts

    def origin(self, origin: str) -> bool:
        """Whether a request may come from a page of this origin."""
        return origin in self.origins or (self.local_pages and bool(re.fullmatch(LOOPBACK_ORIGIN, origin)))


def allowed(
    bound_to: str, public_url: str | None, origins: str, *, is_local: bool, has_authentication: bool
) -> Allowed:
    """What requests may say to a server that listens on `bound_to`.

    Where the address is open to others, tokens are asked for and no public URL is known, any host may be named: a page
    that passes for one of this server's own has no token.
    """
    own = set(origins.split(",")) - {""}
    if public_url is None and not is_local and has_authentication:
        return Allowed(None, frozenset(own), is_local)
    hosts = {*_LOOPBACK_HOSTS, f"[{bound_to}]" if ":" in bound_to else bound_to.lower()}
    if public_url is not None:
        parts = urlsplit(public_url)
        hosts.add(_without_port(parts.netloc))
        own.add(f"{parts.scheme}://{parts.netloc}".lower())
    return Allowed(frozenset(hosts), frozenset(own), is_local)


def _without_port(host: str) -> str:
    return re.sub(r":\d*$", "", host.lower())


class Guard:
    """Answers 421 to requests for another host, and 403 to those of another origin."""

    def __init__(self, app: ASGIApp, allowed: Allowed) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not self._allowed.host(hosts[0]):
            await problem(421, "this server does not answer to that host")(scope, receive, send)
        elif any(not self._allowed.origin(origin) for origin in origins):
            await problem(403, "this server does not answer to pages of that origin")(scope, receive, send)
        else:
            await self._app(scope, receive, send)
