"""Everything that reaches below the public surface of the `mcp` package (2.3), in one place.

There is no public API for `resources/subscribe`, for the `listChanged` flags of a handshake client, or for the
connection object (SDK 2.3.0); `MCPServer._lowlevel_server` and `ServerSession._connection` are what its own
conformance server uses. Tests cover each use, and the dependency is pinned below 3.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import mcp_types as types
from mcp.server import MCPServer, NotificationOptions
from mcp.server.stdio import stdio_server

from evi_mcp.quoting import visible


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

    async def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Sends a notification of any kind, nothing in it invisible; blocks as `send_resource_updated` does."""
        await self._raw.notify(method, visible(dict(params)))


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
    base, flags = low.create_initialization_options, NotificationOptions(resources_changed=True)

    def options(notification_options: Any = None, *args: Any, **kwargs: Any) -> Any:
        return base(notification_options or flags, *args, **kwargs)

    low.create_initialization_options = options  # type: ignore[method-assign]  # there is no other way in


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


async def run_on_stdio(server: MCPServer[Any], stdin: Any | None, stdout: Any | None) -> None:
    """Serves until the client closes stdin.

    Args:
        stdin: An async iterable of lines; `None` is the SDK's own reader.
        stdout: What has an async `write` and `flush`; `None` is the SDK's own writer.
    """
    async with stdio_server(stdin=stdin, stdout=stdout) as (read, write):
        low = server._lowlevel_server
        await low.run(read, write, low.create_initialization_options())
