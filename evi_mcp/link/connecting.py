"""The WebSocket to a hub: how it is opened and closed, when it is tried again, and in what words it is given up."""

import asyncio
import logging
import random
from collections.abc import Iterator
from itertools import count
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from evi_mcp import __version__
from evi_mcp.link.address import is_loopback

MAX_COMMAND_BYTES = 1024 * 1024
"""The largest frame from the hub. Reading it holds up the bot's event loop, some 5 ms for a mebibyte."""
OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
FIRST_DELAY_S = 0.25
LAST_DELAY_S = 30.0

# At DEBUG the library writes every header, and so the key, to its log.
_socket_log = logging.getLogger("evi_mcp.link.socket")
_socket_log.setLevel(logging.WARNING)


def backoff(rng: random.Random | None = None) -> Iterator[float]:
    """Endless delays in seconds: doubling from 0.25 to 30, each shortened by up to a half at random."""
    rng = rng or random.Random()
    for attempt in count():
        delay = min(LAST_DELAY_S, FIRST_DELAY_S * 2 ** min(attempt, 10))
        yield delay * rng.uniform(0.5, 1.0)


class _NoRedirect(connect):
    """A handshake that follows no redirect: the header with the key would go along, to anywhere."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def open_connection(uri: str, key: str | None) -> ClientConnection:
    """A connection to the hub.

    Args:
        uri: From `link_uri`.
        key: For the header `X-Hume-Api-Key`; `None` sends none.

    Raises:
        InvalidStatus, OSError, TimeoutError: There is none; `why_lost` says why.
    """
    return await _NoRedirect(
        uri,
        additional_headers={} if key is None else {"X-Hume-Api-Key": key},
        user_agent_header=f"evi-mcp-link/{__version__}",
        max_size=MAX_COMMAND_BYTES,
        open_timeout=OPEN_TIMEOUT_S,
        close_timeout=CLOSE_TIMEOUT_S,
        compression=None,  # the bot's time is worth more than the line's
        proxy=None if is_loopback(urlsplit(uri).hostname or "") else True,
        logger=_socket_log,
    )


async def hang_up(connection: ClientConnection) -> None:
    """Closes it in order; a hub that does not answer the close is not waited for."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await connection.close()
    except Exception:
        connection.transport.abort()


def why_lost(error: Exception) -> str:
    """What happened, without the text of a foreign exception: it may repeat the request and its key."""
    if isinstance(error, InvalidStatus):
        return f"it answers HTTP {error.response.status_code}"
    if isinstance(error, ConnectionClosed):
        return f"the connection closed ({error.rcvd.code if error.rcvd else 'cut'})"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
