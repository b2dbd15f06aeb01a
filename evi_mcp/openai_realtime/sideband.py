"""The sideband's socket: `websockets` on asyncio, with the key in a header and nowhere else."""

import asyncio
import json
import logging
import time
from typing import Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidProxyStatus,
    InvalidStatus,
    InvalidURI,
    ProxyError,
    WebSocketException,
)

from evi_mcp import __version__
from evi_mcp.openai_realtime.endpoints import Endpoint
from evi_mcp.openai_realtime.reading import Message, text, thing
from evi_mcp.protocol.codec import load_json
from evi_mcp.upstream.environment import route_to, socket_options
from evi_mcp.upstream.reconnect import retry_after
from evi_mcp.upstream.transport import NORMAL_CLOSURE, Closed, Unreachable
from evi_mcp.upstream.trouble import why

MAX_EVENT_BYTES = 32 * 2**20
"""The largest event that is read: an item that was asked for comes with up to 15 MiB of audio, as base64."""
OPEN_TIMEOUT_S = 8.0
WRITE_TIMEOUT_S = 5.0
"""A write that takes longer ends the connection, so that it cannot arrive later."""
PING_INTERVAL_S = 20.0
PING_TIMEOUT_S = 20.0
CLOSE_TIMEOUT_S = 1.0

# At DEBUG the library writes every header, and so the key, to its log.
_logger = logging.getLogger("evi_mcp.openai_realtime.socket")
_logger.setLevel(logging.WARNING)


class Refused(Exception):
    """The handshake was answered with this HTTP status instead of 101.

    `code` is the service's own word for why, or empty; `retry_after` in seconds, or `None`.
    """

    def __init__(self, status: int, code: str = "", retry_after: float | None = None) -> None:
        super().__init__(status, code, retry_after)
        self.status, self.code, self.retry_after = status, code, retry_after


class Socket(Protocol):
    """An open sideband."""

    async def receive(self) -> str | bytes:
        """The next frame.

        Raises:
            Closed: There are no more.
        """
        ...

    async def send(self, event: Message) -> None:
        """Writes a client event.

        Raises:
            Closed: The connection ended before or while it was written.
        """
        ...

    async def close(self) -> None:
        """Closes it; never raises."""
        ...


class _SameOrigin(connect):
    """A handshake that follows no redirect: the header with the key would go along, to anywhere."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def open_sideband(endpoint: Endpoint, call_id: str) -> Socket:
    """Opens the sideband of a call.

    Raises:
        Refused: The service answered and said no.
        Unreachable: There was no answer; the text says why, for people, without secrets.
    """
    route = route_to(endpoint.base_url)
    if route.trouble:
        raise Unreachable(f"the service cannot be reached: {route.trouble}")
    try:
        connection = await _SameOrigin(
            endpoint.socket_url(call_id),
            additional_headers=endpoint.headers,
            user_agent_header=f"evi-mcp/{__version__}",
            max_size=MAX_EVENT_BYTES,
            open_timeout=OPEN_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            compression=None,
            logger=_logger,
            **socket_options(endpoint.base_url, route),
        )
    except InvalidStatus as error:
        answer = error.response
        wait = retry_after(answer.headers.get_all("Retry-After"), time.time())
        raise Refused(answer.status_code, _code(answer.body), wait) from None
    except TimeoutError:
        raise Unreachable(f"no answer to the handshake within {OPEN_TIMEOUT_S:g} s") from None
    except InvalidProxyStatus as error:
        raise Unreachable(f"the proxy opens no tunnel (HTTP {error.response.status_code})") from None
    except ProxyError:
        raise Unreachable("the proxy opens no tunnel") from None
    except (InvalidURI, UnicodeError):
        raise Unreachable("the base URL cannot be used for a WebSocket; check EVI_MCP_OPENAI_BASE_URL") from None
    except InvalidHandshake:
        raise Unreachable("the answer was no WebSocket handshake; check EVI_MCP_OPENAI_BASE_URL") from None
    except (OSError, EOFError, ValueError, WebSocketException) as error:
        raise Unreachable(f"the service cannot be reached ({why(error) or 'the connection broke'})") from None
    return _Sideband(connection)


class _Sideband:
    """One open socket."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def receive(self) -> str | bytes:
        try:
            return await self._connection.recv()
        except ConnectionClosed as error:
            raise _closed(error) from None

    async def send(self, event: Message) -> None:
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._connection.send(json.dumps(event, ensure_ascii=False))
        except ConnectionClosed as error:
            raise _closed(error) from None
        except TimeoutError:
            self._connection.transport.abort()
            raise Closed(None, f"the service took nothing for {WRITE_TIMEOUT_S:g} s") from None

    async def close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._connection.close(NORMAL_CLOSURE)
        except (TimeoutError, OSError, WebSocketException):
            self._connection.transport.abort()


def _closed(error: ConnectionClosed) -> Closed:
    return Closed(error.rcvd.code, error.rcvd.reason) if error.rcvd is not None else Closed(None)


def _code(body: bytes | bytearray | None) -> str:
    """The service's word in the body of an error, which the library leaves out of its own text."""
    try:
        value = load_json(bytes(body or b"").decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return ""
    return text(thing(value, "error"), "code")[:100] if isinstance(value, dict) else ""
