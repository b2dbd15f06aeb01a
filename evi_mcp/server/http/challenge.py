"""The answers of a server that wants a token, or another one (RFC 6750, RFC 9728, MCP 2026-07-28 on authorization).

A challenge names the scopes, and where the metadata of this resource are: that is how a client finds the authorization
server. Static tokens have neither: Cursor ignores the headers that it was configured with once a server answers
discovery.
"""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from evi_mcp.access.callers import Access
from evi_mcp.access.principals import scope_of, scopes_up_to
from evi_mcp.errors import ToolNotAllowed
from evi_mcp.server.http.answers import problem

WELL_KNOWN = "/.well-known/oauth-protected-resource"


class Challenge:
    """Makes the answers of one resource.

    Args:
        resource: Its URL, as tokens name it.
        issuer: Of its tokens; `None` for static tokens.
        scopes: What clients are to ask for at login.
    """

    def __init__(self, resource: str, issuer: str | None = None, scopes: str = "") -> None:
        self._resource = resource
        self._issuer = issuer
        self._scopes = scopes.split()

    @property
    def has_metadata(self) -> bool:
        """Whether there is an authorization server that clients are to find."""
        return self._issuer is not None

    @property
    def metadata_paths(self) -> list[str]:
        """Where the metadata are served: with the path of the resource, and without."""
        return [WELL_KNOWN, f"{WELL_KNOWN}{urlsplit(self._resource).path}"]

    async def metadata(self, request: Request) -> Response:
        """Answers with the metadata (RFC 9728, section 3)."""
        document = {
            "resource": self._resource,
            "authorization_servers": [self._issuer],
            "scopes_supported": self._scopes,
            "bearer_methods_supported": ["header"],
            "resource_name": "evi-mcp",
        }
        return JSONResponse(document, headers={"Cache-Control": "max-age=300", "Access-Control-Allow-Origin": "*"})

    def missing(self) -> Response:
        """401: there is no token. RFC 6750 wants no error code then."""
        said = "a token is needed, in the header Authorization: Bearer"
        return self._refusal(401, said, scopes=self._scopes)

    def invalid(self, why: str) -> Response:
        """401: the token opens nothing. `why` is shown to whoever sent it."""
        return self._refusal(401, f"the token is refused: {why}", "invalid_token", why, self._scopes)

    def insufficient(self, tool: str, needed: Access, granted: Access | None, *, id: Any = None) -> Response:
        """403: the token does not grant what a tool needs, or (`tool` is empty) anything at all."""
        said = f"the token grants none of the scopes {', '.join(scope_of(level) for level in Access)}"
        if tool and granted is not None:
            said = str(ToolNotAllowed(tool, needed.value, granted.value, by_token=True))
        # Those it has as well: a client that asks for the new one alone may lose the others.
        scopes = [*scopes_up_to(granted), scope_of(needed)]
        return self._refusal(403, said, "insufficient_scope", f"{scope_of(needed)} is needed", scopes, id=id)

    def plain_http(self) -> Response:
        """403: whoever is on the way has read the token."""
        return problem(
            403,
            "the token came over plain http, where others can read it: use https, and have the token replaced."
            " Behind a proxy, see EVI_MCP_TRUSTED_PROXIES; EVI_MCP_ALLOW_PLAIN_HTTP=on allows it",
        )

    def _refusal(
        self,
        status: int,
        said: str,
        error: str = "",
        why: str = "",
        scopes: list[str] | None = None,
        *,
        id: Any = None,
    ) -> Response:
        parts = {"error": error, "error_description": why}
        if self._issuer is not None:
            parts |= {"scope": " ".join(scopes or ()), "resource_metadata": _metadata_url(self._resource)}
        shown = ", ".join(f'{name}="{value}"' for name, value in parts.items() if value)
        header = {"WWW-Authenticate": f"Bearer {shown}".strip()}
        return problem(status, said, id=id, headers=header, more={"error_description": said})


def _metadata_url(resource: str) -> str:
    parts = urlsplit(resource)
    return urlunsplit((parts.scheme, parts.netloc, f"{WELL_KNOWN}{parts.path}", "", ""))
