"""Everything that reaches below the public surface of the `mcp` package (2.3), in one place.

There is no public API for `resources/subscribe`, for the `listChanged` flags of a handshake client, or for the
connection object (SDK 2.3.0); `MCPServer._lowlevel_server` and `ServerSession._connection` are what its own
conformance server uses. Tests cover each use, and the dependency is pinned below 3.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import anyio
import anyio.lowlevel
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server import MCPServer, NotificationOptions
from mcp.server.auth.middleware.bearer_auth import AuthorizationContext
from mcp.server.mcpserver import server as mcpserver
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.subscriptions import ListenHandler, SubscriptionBus
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from evi_mcp.logs import fields
from evi_mcp.quoting import visible
from evi_mcp.server import lines
from evi_mcp.server.pipes import MAX_LINE, Lines, Output, TooLong

_log = logging.getLogger(__name__)


class Connection:
    """One handshake client, as far as notifications go. Two of the same client are equal."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Connection) and other._raw is self._raw

    def __hash__(self) -> int:
        return id(self._raw)

    def on_close(self, callback: Callable[[], None]) -> None:
        """Calls back when the client has gone."""
        self._raw.exit_stack.callback(callback)

    async def send_resource_updated(self, uri: str) -> None:
        """Blocks for as long as the client does not read; never raises."""
        await self._raw.send_resource_updated(uri)

    async def send_resource_list_changed(self) -> None:
        """As `send_resource_updated`."""
        await self._raw.send_resource_list_changed()

    async def send_tool_list_changed(self) -> None:
        """As `send_resource_updated`."""
        await self._raw.send_tool_list_changed()

    async def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Sends a notification of any kind, nothing in it invisible; blocks as `send_resource_updated` does."""
        await self._raw.notify(method, visible(dict(params)))


def leave_log_alone() -> None:
    """The SDK sets the root logger up when a server is made, and loads `rich` for it where that is installed. Ours is
    set up before, so that would be for nothing."""
    mcpserver.configure_logging = lambda level="INFO": None  # type: ignore[attr-defined]  # there is no other way


Subscribe = Callable[[Connection, str], None]


def serve_subscriptions(server: MCPServer[Any], subscribe: Subscribe, unsubscribe: Subscribe) -> None:
    """Answers `resources/subscribe` and `resources/unsubscribe`, and announces both to handshake clients."""

    async def on_subscribe(ctx: Any, params: types.SubscribeRequestParams) -> types.EmptyResult:
        subscribe(Connection(ctx.session._connection), str(params.uri))
        return types.EmptyResult()

    async def on_unsubscribe(ctx: Any, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        unsubscribe(Connection(ctx.session._connection), str(params.uri))
        return types.EmptyResult()

    low = server._lowlevel_server
    low.add_request_handler("resources/subscribe", types.SubscribeRequestParams, on_subscribe)
    low.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, on_unsubscribe)
    base, flags = low.create_initialization_options, NotificationOptions(resources_changed=True, tools_changed=True)

    def options(notification_options: Any = None, *args: Any, **kwargs: Any) -> Any:
        return base(notification_options or flags, *args, **kwargs)

    low.create_initialization_options = options  # type: ignore[method-assign]  # there is no other way in


def announce_what_changes(server: MCPServer[Any]) -> None:
    """Announces to clients of both eras that the lists of resources and tools change, and that of prompts does not.

    Handshake clients are told of both by `serve_subscriptions`. To others the SDK announces all three.
    """
    low = server._lowlevel_server
    base = low.get_capabilities

    def capabilities(*args: Any, **kwargs: Any) -> types.ServerCapabilities:
        found = base(*args, **kwargs)
        if found.prompts is not None:
            found.prompts.list_changed = False
        return found

    low.get_capabilities = capabilities  # type: ignore[method-assign]  # as above


def announce(server: MCPServer[Any], capability: str) -> None:
    """Announces an experimental capability to handshake clients; there is none in `server/discover` (SDK 2.3.0)."""
    low = server._lowlevel_server
    base = low.create_initialization_options

    def options(notification_options: Any = None, experimental: Any = None, *args: Any, **kwargs: Any) -> Any:
        return base(notification_options, {**(experimental or {}), capability: {}}, *args, **kwargs)

    low.create_initialization_options = options  # type: ignore[method-assign, assignment]  # as above


def report_clients(server: MCPServer[Any], on_client: Callable[[Connection], None]) -> None:
    """Reports each handshake client once it is ready for notifications."""

    async def middleware(ctx: Any, call_next: Any) -> Any:
        answer = await call_next(ctx)
        if ctx.method == "notifications/initialized":
            on_client(Connection(ctx.session._connection))
        return answer

    server.middleware.append(middleware)


def report_listening(server: MCPServer[Any], listening: Callable[[list[str]], AbstractContextManager[None]]) -> None:
    """Each `subscriptions/listen` is served inside the block of `listening`, which gets its addresses; what entering it
    raises is the answer."""

    async def middleware(ctx: Any, call_next: Any) -> Any:
        if ctx.method != "subscriptions/listen":
            return await call_next(ctx)
        wanted = (ctx.params or {}).get("notifications")
        uris = wanted.get("resourceSubscriptions") if isinstance(wanted, dict) else None
        with listening([uri for uri in uris if isinstance(uri, str)] if isinstance(uris, list) else []):
            return await call_next(ctx)

    server.middleware.append(middleware)


MAX_UNANSWERED = 256
"""Requests that wait for an answer to be taken; beyond, a client that does not read is not read either."""


_Received = MemoryObjectReceiveStream[SessionMessage | Exception]
_Receiving = MemoryObjectSendStream[SessionMessage | Exception]


async def run_on_stdio(server: MCPServer[Any], stdin: Lines, stdout: Output) -> None:
    """Serves until stdin ends. In place of the SDK's `stdio_server`, which leaves unreadable requests unanswered.

    The SDK lets the first request decide the era for good. A client that probes with `server/discover`, gives up and
    begins with `initialize` (Vercel's AI SDK does so after 1 s) would never get in. So a probe that it has given up
    already is dropped, and after one that was answered too late the connection begins anew.
    """
    beginning, begun = anyio.create_memory_object_stream[_Received](1)
    sending, sent = anyio.create_memory_object_stream[SessionMessage]()
    traffic = _Traffic()
    async with anyio.create_task_group() as group:
        group.start_soon(_read, stdin, stdout, beginning, traffic)
        group.start_soon(_write, sent, stdout, traffic)
        low = server._lowlevel_server
        async with begun, sending:
            async for received in begun:
                await low.run(received, sending.clone(), low.create_initialization_options())


class _Traffic:
    """How many requests wait for an answer, and whether one is on its way out."""

    def __init__(self) -> None:
        self._unanswered = 0
        self._writing = False
        self._news = anyio.Event()

    async def asked(self) -> None:
        """A request was read. Returns when the next one may be."""
        self._unanswered += 1
        while self._writing and self._unanswered > MAX_UNANSWERED:
            self._news = anyio.Event()
            await self._news.wait()

    async def settled(self) -> None:
        """It has its answer, or will have none since it was cancelled."""
        self._unanswered -= 1
        self._news.set()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around the writing of a line."""
        self._writing = True
        try:
            yield
        finally:
            self._writing = False
            self._news.set()


async def _read(stdin: Lines, stdout: Output, beginning: MemoryObjectSendStream[_Received], traffic: _Traffic) -> None:
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # the server has stopped reading
        async with beginning:
            receiving = await _begin(beginning)
            try:
                probed: bool | None = False
                """Whether it was asked for nothing but `server/discover`; `None` once it was asked for more."""
                async for line in stdin:
                    match lines.too_long(*line, MAX_LINE) if isinstance(line, TooLong) else lines.read(line):
                        case None:
                            await anyio.lowlevel.checkpoint()
                        case lines.Unreadable(why, answers):
                            _log.warning("a line on stdin is no message", extra=fields(reason=why))
                            for answer in answers:
                                await stdout.write(answer)
                            await anyio.lowlevel.checkpoint()
                        case types.JSONRPCRequest() as request:
                            if request.method == lines.PROBE and probed is not None:
                                if any(map(lines.begins, stdin.ahead())):
                                    continue
                                probed = True
                            elif probed and request.method == lines.HANDSHAKE:
                                await receiving.aclose()
                                receiving, probed = await _begin(beginning), None
                            else:
                                probed = None
                            metadata = ServerMessageMetadata(on_request_unanswered=traffic.settled)
                            await receiving.send(SessionMessage(request, metadata))
                            await traffic.asked()
                        case message:
                            await receiving.send(SessionMessage(message))
            finally:
                await receiving.aclose()


async def _begin(beginning: MemoryObjectSendStream[_Received]) -> _Receiving:
    """A connection begins; what it gets."""
    receiving, received = anyio.create_memory_object_stream[SessionMessage | Exception]()
    await beginning.send(received)
    return receiving


async def _write(sent: MemoryObjectReceiveStream[SessionMessage], stdout: Output, traffic: _Traffic) -> None:
    async with sent:
        async for out in sent:
            with traffic.writing():
                await stdout.write(lines.written(out.message))
            if isinstance(out.message, types.JSONRPCResponse | types.JSONRPCError):
                await traffic.settled()


def serve_listening(server: MCPServer[Any], bus: SubscriptionBus, most: int) -> Callable[[], None]:
    """Serves `subscriptions/listen` with a limit and an end: the SDK's own handler has 1,024 streams at most and cannot
    be closed from outside. Returns what ends every stream, as the protocol wants it: with a result."""
    handler = ListenHandler(bus, max_subscriptions=most)
    server._lowlevel_server.add_request_handler("subscriptions/listen", types.SubscriptionsListenRequestParams, handler)
    return handler.close


MAX_TOMBSTONES = 10_000
SESSION_HEADER = b"mcp-session-id"


class Sessions(StreamableHTTPSessionManager):
    """MCP over HTTP, in both eras. A session that this process does not know is adopted: it is one of a former process,
    or of another one.

    Handshake clients do not begin anew when they are told that their session is unknown (npm SDK 1.32, Claude Code):
    their tools would be dead until somebody restarts them. A session holds nothing but subscriptions, and every request
    brings its own token, so each of its requests is served by itself. What is lost is push, as `GET` says with a 405.
    A session that its client has ended stays ended: 404.
    """

    def __init__(self, server: MCPServer[Any], max_sessions: int) -> None:
        # Who is asked, and from where, is checked around the whole application.
        unchecked = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        super().__init__(server._lowlevel_server, security_settings=unchecked, max_sessions=max_sessions)
        self._tombstones: OrderedDict[str, None] = OrderedDict()

    @property
    def count(self) -> int:
        """The handshake sessions that are open."""
        return len(self._server_instances)

    async def end_of(self, owner: AuthorizationContext) -> None:
        """Ends the sessions that were opened with a token of this holder."""
        for session_id, opened_by in list(self._session_owners.items()):
            if opened_by == owner and (transport := self._server_instances.get(session_id)) is not None:
                await self._discard_session(session_id, transport)

    async def _handle_stateful_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        session_id = headers.get(SESSION_HEADER, b"").decode("latin-1")
        is_unknown = bool(session_id) and session_id not in self._server_instances
        if is_unknown and session_id not in self._tombstones:
            if scope["method"] == "POST":
                version = headers.get(b"mcp-protocol-version")
                await self._handle_stateless_request(version and version.decode("latin-1"), scope, receive, send)
                return
            if scope["method"] == "GET":
                await Response(status_code=405, headers={"Allow": "POST"})(scope, receive, send)
                return
        await super()._handle_stateful_request(scope, receive, send)
        if session_id and scope["method"] == "DELETE" and session_id not in self._server_instances:
            self._tombstones[session_id] = None
            if len(self._tombstones) > MAX_TOMBSTONES:
                self._tombstones.popitem(last=False)
