"""The real connector: `websockets` on asyncio, with the key in a header and nowhere else."""

import asyncio
import contextlib
import logging
import time
from functools import cached_property
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr
from websockets.asyncio import client
from websockets.asyncio.client import connect
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
from evi_mcp.errors import SendNotReached, SendRefused, SendUnknown
from evi_mcp.protocol.codec import fault
from evi_mcp.protocol.lifecycle import GONE_STATUS
from evi_mcp.protocol.messages import ProtocolFault
from evi_mcp.quoting import name
from evi_mcp.upstream.connection import Connection
from evi_mcp.upstream.environment import route_to, socket_options
from evi_mcp.upstream.reconnect import retry_after
from evi_mcp.upstream.rest import RestClient
from evi_mcp.upstream.transport import NORMAL_CLOSURE, Closed, MaybeTaken, NotTaken, Refused, Transport, Unreachable
from evi_mcp.upstream.trouble import why

OPEN_TIMEOUT_S = 8.0  # less than an attach waits, so that the attach can say why it failed
PING_INTERVAL_S = 20.0
PING_TIMEOUT_S = 20.0
CLOSE_TIMEOUT_S = 1.0

# At DEBUG the library logs every header, and so the key.
_logger = logging.getLogger("evi_mcp.upstream.socket")
_logger.setLevel(logging.WARNING)


class _SameOrigin(connect):
    """A handshake that follows no redirect, which would send the key to another host."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class _Tunnel(client.HTTPProxyConnection):
    """A tunnel request that the proxy may hang up on. The library reads the end of the stream twice, and the second
    read raises an error that only reaches the log."""

    def connection_lost(self, exc: Exception | None) -> None:
        with contextlib.suppress(EOFError):
            super().connection_lost(exc)


client.HTTPProxyConnection = _Tunnel  # type: ignore[misc]  # the library has no option for it


class WebSocketConnector:
    """Opens `{base}/v0/evi/chat/{chat_id}/connect` (Hume's reference of the control plane).

    Args:
        base_url: `http` or `https`; the socket is `ws` or `wss` accordingly.
        api_key: Sent as `X-Hume-Api-Key`, which Hume's control-plane guide documents for this socket.
        rest: Asked for the chat's status when a handshake is refused; `None` leaves that out.
    """

    def __init__(self, base_url: str, api_key: SecretStr, rest: RestClient | None = None) -> None:
        self._base = f"ws{base_url.rstrip('/')[len('http') :]}"
        self._api_key = api_key
        self._rest = rest
        self._base_url = base_url
        self._route = route_to(base_url)

    @cached_property
    def _options(self) -> dict[str, Any]:
        return socket_options(self._base_url, self._route)

    async def connect(self, chat_id: str) -> Transport:
        if self._route.trouble:
            raise Unreachable(f"the service cannot be reached: {self._route.trouble}")
        uri = f"{self._base}/v0/evi/chat/{quote(chat_id, safe='')}/connect"
        try:
            connection = await _SameOrigin(
                uri,
                additional_headers={"X-Hume-Api-Key": self._api_key.get_secret_value()},
                user_agent_header=f"evi-mcp/{__version__}",
                open_timeout=OPEN_TIMEOUT_S,
                ping_interval=PING_INTERVAL_S,
                ping_timeout=PING_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                compression=None,  # it would save a quarter of the bytes of speech, and cost five times the CPU time
                logger=_logger,
                create_connection=Connection,
                **self._options,
            )
        except InvalidStatus as error:
            answer = error.response
            raise Refused(answer.status_code, retry_after(answer.headers.get_all("Retry-After"), time.time())) from None
        except TimeoutError:
            raise Unreachable(f"no answer to the handshake within {OPEN_TIMEOUT_S:g} s") from None
        except InvalidProxyStatus as error:
            raise Unreachable(f"the proxy opens no tunnel (HTTP {error.response.status_code})") from None
        except ProxyError:
            raise Unreachable("the proxy opens no tunnel") from None
        except (InvalidURI, UnicodeError):
            raise Unreachable("the base URL cannot be used for a WebSocket; check EVI_MCP_BASE_URL") from None
        except InvalidHandshake:
            raise Unreachable("the answer was no WebSocket handshake; check EVI_MCP_BASE_URL") from None
        except (OSError, EOFError, ValueError, WebSocketException) as error:
            raise Unreachable(f"the service cannot be reached ({why(error) or 'the connection broke'})") from None
        assert isinstance(connection, Connection)
        return WebSocketTransport(connection)

    async def post(self, chat_id: str, frame: str, within_s: float) -> None:
        if self._rest is None:
            raise NotTaken("there is no REST API to post it to")
        try:
            await self._rest.send(chat_id, frame, within_s=within_s)
        except SendRefused as refusal:
            raise NotTaken(str(refusal), gone=refusal.status in GONE_STATUS) from None
        except SendNotReached as trouble:
            raise NotTaken(str(trouble)) from None
        except SendUnknown:
            raise MaybeTaken from None

    async def explain_refusal(self, chat_id: str, status: int) -> str:
        if 300 <= status < 400:
            return f"the service redirects (HTTP {status}), which is not followed with a key; correct EVI_MCP_BASE_URL"
        if status == 401:
            return "the service refuses the key (HTTP 401); check HUME_API_KEY"
        if status == 429:
            return "the service has too many connections of this account (HTTP 429)"
        if status >= 500 or status in (408, 425):
            return f"the service is in trouble (HTTP {status})"
        known = await self._rest.chat_status(chat_id) if self._rest else None
        said = f"the service refused the connection (HTTP {status})"
        if known == "ACTIVE":
            return (
                f"{said} although the chat is ACTIVE: most likely it was opened without allow_connection=true,"
                " which only the client that opens a chat can set"
            )
        if known is not None:
            return f"{said}: the chat is over ({name(known[:80])}); only a live chat can be attached to"
        likely = "it may not exist, be over, belong to another account, or be opened without allow_connection=true"
        return f"{said}: {likely}; take an id from list_chats with scope='active'"


class WebSocketTransport:
    """One open socket."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def is_open(self) -> bool:
        return self._connection.is_open

    @property
    def heard_at(self) -> float:
        return self._connection.heard_at

    async def receive(self) -> str | bytes | ProtocolFault:
        message = self._connection.take() or await self._connection.next_message()
        if message is None:
            raise self._end()
        if message.fault is not None:
            return message.fault
        if not message.is_text:
            return bytes(message.data)
        try:
            return str(message.data, "utf-8")
        except UnicodeDecodeError:
            return fault(message.data, "text that is not UTF-8", binary=False)

    async def send(self, frame: str) -> None:
        try:
            await self._connection.send(frame)
        except ConnectionClosed:
            raise self._end() from None
        except BaseException:
            self.abort()
            raise
        if self._connection.transport.is_closing():  # broken before or during the write: the library is silent
            raise self._end()

    async def close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._connection.close(NORMAL_CLOSURE)
        except (TimeoutError, OSError, WebSocketException):
            self.abort()  # the other side does not answer or read

    def abort(self) -> None:
        self._connection.abort()

    def _end(self) -> Closed:
        """What ended the connection, as `Closed`; if this side ended it, with our reason."""
        received, sent = self._connection.protocol.close_rcvd, self._connection.protocol.close_sent
        if received is not None:
            return Closed(received.code, received.reason)
        if self._connection.aborted_because is not None:
            return Closed(None, self._connection.aborted_because)
        if sent is not None and sent.code != NORMAL_CLOSURE:
            return Closed(None, sent.reason or f"closed from this side with {sent.code}")
        return Closed(None)
