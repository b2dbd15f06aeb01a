"""What our uvicorn servers share: how to listen, and a server that handles no signals and logs no requests.

uvicorn takes over the signals, and raises a caught one again once it has ended: nothing behind it would run. Its
log of requests has addresses with their query, in which a key may stand.
"""

import contextlib
import socket
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from evi_mcp.errors import CannotListen

BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 picks a free port.

    Raises:
        CannotListen: The address is taken, or not an address of this machine.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
        # Connections inherit it. asyncio sets it only where a socket names its protocol, which this one does not.
        # Without it a body waits for its head to be acknowledged, and a message for the one before: 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise CannotListen(host, port, error.strerror or str(error)) from None


def quiet_config(app: ASGIApp, **more: Any) -> uvicorn.Config:
    """uvicorn's settings for an app without a lifespan; `more` adds settings."""
    return uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, server_header=False, **more)


class Server(uvicorn.Server):
    """uvicorn without its signal handlers."""

    capture_signals = staticmethod(contextlib.nullcontext)  # type: ignore[assignment]  # handles no signals
