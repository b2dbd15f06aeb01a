"""Who is behind a request: every message is handled at the desk of its caller.

On stdio and in memory there is one seat for each connection, and its caller has the rights that the operator gives.
Over HTTP all share a seat, and the caller of each request is the one whose token came with it. The name is what the
client claims.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any

from evi_mcp.access.callers import Rights, agent
from evi_mcp.access.principals import Principal
from evi_mcp.quoting import name
from evi_mcp.supervision.desk import Desk
from evi_mcp.supervision.service import Service

PRINCIPAL = "evi_mcp.principal"
"""The key in the ASGI scope of a request under which its `Principal` is; absent where no token is asked for."""

_TIMED_OUT = re.compile("time.?out|timed.?out", re.IGNORECASE)
"""The reason of a cancellation, in the words of the TypeScript and Python SDKs and of what is built on them."""
_desk: ContextVar[Desk] = ContextVar("desk")
_numbers = count(1)


class Seat:
    """What the requests of a connection share, or over HTTP all requests. `rights` are those of whoever shows no
    token."""

    def __init__(self, service: Service, rights: Rights | None = None) -> None:
        self.service = service
        self._rights = rights or service.rights
        self._id = f"agent-{next(_numbers)}"

    def desk(self, claimed: str, request: Any = None) -> Desk:
        """The desk of whoever sits here, who calls itself `claimed`.

        Args:
            request: The HTTP request, or `None` where there is none.
        """
        claimed = self.service.mask(claimed).encode("utf-8", "replace").decode()
        if request is None:
            return self.service.desk(agent(self._id, claimed, self._rights))
        principal: Principal | None = request.scope.get(PRINCIPAL)
        session = request.headers.get("mcp-session-id", "")[:8]
        holder = self._id if principal is None else f"agent-{principal.key}"
        id = "/".join(filter(None, (holder, name(session) if session else "")))
        rights = self._rights if principal is None else principal.rights
        return self.service.desk(agent(id, claimed, rights, principal))


@asynccontextmanager
async def seat(service: Service, rights: Rights | None = None) -> AsyncIterator[Seat]:
    """A seat for as long as a connection lasts; the service itself is made and closed by the process."""
    yield Seat(service, rights)


async def at_the_desk(ctx: Any, call_next: Any) -> Any:
    """Middleware: handles a message at the desk of its caller."""
    params = ctx.session.client_params
    if params is None and ctx.method == "initialize":
        claimed = _claimed_in(ctx.params)
    else:
        claimed = params.client_info.name if params else ""
    desk = ctx.lifespan_context.desk(claimed, ctx.request)
    if ctx.method == "notifications/cancelled" and ctx.params:
        reason = str(ctx.params.get("reason", ""))
        desk.no_longer_awaited(str(ctx.params.get("requestId")), timed_out=_TIMED_OUT.search(reason) is not None)
    token = _desk.set(desk)
    try:
        return await call_next(ctx)
    finally:
        _desk.reset(token)


def is_one_client(request: Any) -> bool:
    """Whether all requests of the caller of this one come from one client; `None` is no HTTP request."""
    return request is None or "mcp-session-id" in request.headers


def current_desk() -> Desk:
    """The desk at which the running request is handled."""
    return _desk.get()


def desk_or_none() -> Desk | None:
    """The same; `None` where no request is handled."""
    return _desk.get(None)


def _claimed_in(params: Any) -> str:
    info = params.get("clientInfo") if isinstance(params, dict) else None
    name = info.get("name") if isinstance(info, dict) else None
    return name if isinstance(name, str) else ""
