"""What our uvicorn servers share: the socket, and a server that leaves signals alone and logs no request.

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
    """A socket that takes connections; port 0 takes a free one.

    Raises:
        CannotListen: The address is taken, or not one of this machine's.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise CannotListen(host, port, error.strerror or str(error)) from None


def quiet_config(app: ASGIApp, **more: Any) -> uvicorn.Config:
    """uvicorn's settings for an app without a lifespan of its own; `more` is what this server has beside them."""
    return uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, server_header=False, **more)


class Server(uvicorn.Server):
    """uvicorn without its signal handlers."""

    capture_signals = staticmethod(contextlib.nullcontext)  # type: ignore[assignment]  # takes no signals at all
