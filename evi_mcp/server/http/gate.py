"""What is answered before MCP sees a request: that it waits for too much, or needs another token.

The tools check both again, and they are what counts. This is where a client can still be told by a status: 503 with
`Retry-After`, and 403 with the challenge that lets it ask for more scope.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from evi_mcp.access.callers import Access
from evi_mcp.access.principals import Principal
from evi_mcp.server.callers import PRINCIPAL
from evi_mcp.server.http.answers import busy
from evi_mcp.server.http.body import BODY
from evi_mcp.server.http.challenge import Challenge
from evi_mcp.server.http.running import IS_STREAM
from evi_mcp.server.tools import ALL_TOOLS

_NEEDS = {spec.name: spec.access for spec in ALL_TOOLS}
_WAITING = "wait_for_events"
_LISTENING = "subscriptions/listen"


class Load(NamedTuple):
    """How much waits, and how much may."""

    waits: int
    streams: int
    most: int
    ceiling: Access


class Gate:
    """Answers what cannot succeed.

    Args:
        challenge: What a missing scope is answered with; a tool says it where clients cannot ask for one.
        load: Of the tenant of a request; `None` once the server stops.
    """

    def __init__(self, app: ASGIApp, challenge: Challenge, load: Callable[[Scope], Load | None]) -> None:
        self._app = app
        self._challenge = challenge
        self._load = load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        load, asked = self._load(scope), _asked(scope)
        is_stream = scope["method"] == "GET" or asked.method == _LISTENING
        answer = None
        if load is None:
            answer = busy("the server is stopping", id=asked.id, retry_after=1)
        elif is_stream and load.streams >= load.most:
            answer = busy(f"{load.most} streams are open, which is the limit (EVI_MCP_MAX_WAITS)", id=asked.id)
        elif asked.tool == _WAITING and load.waits >= load.most:
            answer = busy(f"{load.most} calls are waiting, which is the limit (EVI_MCP_MAX_WAITS)", id=asked.id)
        elif (needed := _NEEDS.get(asked.tool)) is not None and load.ceiling.allows(needed):
            principal: Principal | None = scope.get(PRINCIPAL)
            if principal is not None and not principal.is_static and not principal.rights.access.allows(needed):
                answer = self._challenge.insufficient(asked.tool, needed, principal.rights.access, id=asked.id)
        if answer is not None:
            await answer(scope, receive, send)
        else:
            await self._app({**scope, IS_STREAM: is_stream}, receive, send)


class _Asked(NamedTuple):
    """What a request is about, as far as it can be told: the JSON-RPC method, the tool, the id."""

    method: str = ""
    tool: str = ""
    id: Any = None


def _asked(scope: Scope) -> _Asked:
    """What is asked. MCP checks later that the headers of 2026-07-28 say the same as the body."""
    body: bytes = scope.get(BODY, b"")
    said = Headers(scope=scope).get("mcp-method")
    if said not in (None, "tools/call", _LISTENING) or not (b"tools/call" in body or _LISTENING.encode() in body):
        return _Asked(said or "")
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return _Asked()
    if not isinstance(message, dict):
        return _Asked()
    params, method, id = message.get("params"), message.get("method"), message.get("id")
    tool = params.get("name") if isinstance(params, dict) and method == "tools/call" else ""
    return _Asked(
        method if isinstance(method, str) else "",
        tool if isinstance(tool, str) else "",
        id if isinstance(id, int | str) else None,
    )
