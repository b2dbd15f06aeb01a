"""The socket, and uvicorn on it: told from outside when to end, and patient for so long with those who send nothing."""

import asyncio
import contextlib
import logging
import socket

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from evi_mcp.errors import EviMcpError

HEAD_S = 10.0
"""How long the head of a request may take."""
KEEP_ALIVE_S = 75
"""How long an idle connection is kept; longer than the 60 s for which proxies keep theirs."""
LAST_ANSWERS_S = 1
BACKLOG = 2048


def bind(host: str, port: int) -> socket.socket:
    """The socket to listen on.

    Raises:
        EviMcpError: There can be none.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise EviMcpError(f"cannot listen on {host} port {port}: {error.strerror or error}") from None


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


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: it would raise the signal again once it has ended, with the default handler
    back, and nothing behind it would run."""

    capture_signals = staticmethod(contextlib.nullcontext)  # type: ignore[assignment]  # takes no signals at all


def server(app: ASGIApp, trusted_proxies: str, connections: int) -> Server:
    """uvicorn for this application. h11, since httptools keeps white space at the end of header values, which makes a
    legal request of 2026-07-28 a wrong one.

    Args:
        trusted_proxies: Whose X-Forwarded headers are believed.
        connections: At once; others get 503.
    """
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=trusted_proxies.split(","),
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=LAST_ANSWERS_S,
        limit_concurrency=connections,
    )
    return Server(config)
