"""uvicorn for MCP over HTTP: patient for so long with those who send nothing."""

import asyncio
import logging

import h11
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from evi_mcp.serving import Server, quiet_config

HEAD_S = 10.0
"""How long the head of a request may take."""
KEEP_ALIVE_S = 75
"""How long an idle connection is kept; longer than the 60 s for which proxies keep theirs."""
LAST_ANSWERS_S = 1


class Protocol(H11Protocol):
    """One connection. uvicorn itself waits for ever for a request that does not come, or half of one."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._waiting = self.loop.call_later(HEAD_S, self._give_up)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        has_begun = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        if has_begun and self._waiting is None:
            self._waiting = self.loop.call_later(HEAD_S, self._give_up)
        elif not has_begun:
            self._wait_no_more()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        self.transport.close()


def server(app: ASGIApp, trusted_proxies: str, connections: int) -> Server:
    """uvicorn for this application. h11, since httptools keeps white space at the end of header values, which makes a
    legal request of 2026-07-28 a wrong one.

    Args:
        trusted_proxies: Whose X-Forwarded headers are believed.
        connections: At once; others get 503.
    """
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    config = quiet_config(
        app,
        http=Protocol,
        ws="none",
        loop="asyncio",
        proxy_headers=True,
        forwarded_allow_ips=trusted_proxies.split(","),
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=LAST_ANSWERS_S,
        limit_concurrency=connections,
    )
    return Server(config)
