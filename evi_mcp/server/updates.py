"""Telling clients of both protocol eras that a resource changed.

A client of 2026-07-28 listens (`subscriptions/listen`), an older one subscribes (`resources/subscribe`). Both are
told at most ten times a second for each URI, and only that it changed: they read it again. Each older client
has a task and a set of its own, so one that does not read holds up nobody and grows nothing.
"""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import anyio
import mcp_types as types
from mcp.server import MCPServer
from mcp.server.subscriptions import InMemorySubscriptionBus, ResourcesListChanged, ResourceUpdated, ServerEvent
from mcp.shared.exceptions import MCPError

from evi_mcp.chat.events import Event
from evi_mcp.server import sdk

PERIOD_S = 0.1
_OURS = re.compile(r"evi://chats(/[^/?#]+(/events|/transcript|/tool-calls|/audio/[^/?#]+)?)?")
CHATS_URI = "evi://chats"
MAX_URI = 4096
MAX_SUBSCRIPTIONS = 10_000
"""Of one client, or of one `subscriptions/listen`; all views of 1,000 chats are 4,000."""
_LIST = "\0list"  # stands for the list of resources among the URIs


def chat_uri(chat_id: str, view: str = "") -> str:
    """The query-free URI of a chat, or of one of its views: `events`, `transcript`, `tool-calls`."""
    return f"{CHATS_URI}/{chat_id}{'/' + view if view else ''}"


def audio_uri(chat_id: str, message_id: str) -> str:
    """The URI of the audio of a message, whatever characters its id is made of."""
    return chat_uri(chat_id, f"audio/{quote(message_id, safe='')}")


def touched_by(event: Event) -> list[str]:
    """The URIs whose content an event changes."""
    if event.type == "audio_output" and event.message_id is not None:
        return [audio_uri(event.chat_id, event.message_id)]
    if event.hidden and event.type != "assistant_prosody":
        return []
    uris = [chat_uri(event.chat_id, "events"), chat_uri(event.chat_id), CHATS_URI]
    if event.type in ("user_message", "assistant_message", "assistant_prosody", "user_interruption"):
        uris.append(chat_uri(event.chat_id, "transcript"))
    if event.tool_call_id is not None:
        uris.append(chat_uri(event.chat_id, "tool-calls"))
    return uris


def _check(uris: list[str]) -> None:
    """Refuses what a client cannot subscribe to.

    Raises:
        MCPError: It would wait for ever, or there are too many.
    """
    # One of another scheme never changes here, but the protocol's conformance suite subscribes to such.
    if any(len(uri) > MAX_URI or (uri.startswith("evi:") and not _OURS.fullmatch(uri)) for uri in uris):
        raise MCPError(
            types.INVALID_PARAMS,
            f"nothing there can be subscribed to; subscribe to {CHATS_URI}, {CHATS_URI}/{{chat_id}}, or its /events,"
            " /transcript, /tool-calls or /audio/{message_id}, without a query.",
        )
    if len(uris) > MAX_SUBSCRIPTIONS:
        raise _too_many()


def _too_many() -> MCPError:
    return MCPError(types.INVALID_PARAMS, f"{MAX_SUBSCRIPTIONS} subscriptions are the most; leave some first.")


class _Bus(InMemorySubscriptionBus):
    """The SDK's, which also knows whether anybody listens."""

    def __init__(self) -> None:
        super().__init__()
        self.listening: set[object] = set()

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        unsubscribe, token = super().subscribe(listener), object()
        self.listening.add(token)

        def leave() -> None:
            self.listening.discard(token)
            unsubscribe()

        return leave


class _Client:
    """An older client: what it subscribed to, and what it has yet to be told."""

    def __init__(self) -> None:
        self.uris: set[str] = set()
        self.due: dict[str, None] = {}
        self.wake = anyio.Event()
        self.scope = anyio.CancelScope()


class Updates:
    """From events to notifications. `start` runs a coroutine function in the background."""

    def __init__(self, start: Callable[..., None]) -> None:
        self.bus = _Bus()
        self._start = start
        self._clients: dict[sdk.Connection, _Client] = {}
        self._wanted = False  # whether an older client has subscribed to anything
        self._changed: dict[str, None] = {}
        self._wake = anyio.Event()

    def install(self, server: MCPServer[Any]) -> None:
        """Serves subscriptions on `server`, which must have been made with this object's `bus`."""
        sdk.serve_subscriptions(server, self._subscribe, self._unsubscribe)
        sdk.report_clients(server, self._greet)
        sdk.check_listening(server, _check)

    def see(self, event: Event) -> None:
        """Takes note of an event, if anybody wants to know of any; never blocks."""
        if not self._wanted and not self.bus.listening:
            return
        for uri in touched_by(event):
            self._changed[uri] = None
        self._wake.set()

    def list_changed(self) -> None:
        """The list of resources is another one now."""
        self._changed |= {_LIST: None, CHATS_URI: None}
        self._wake.set()

    async def run(self) -> None:
        """Passes changes on, for ever."""
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            changed, self._changed = self._changed, {}
            for client in self._clients.values():
                due = [uri for uri in changed if uri == _LIST or uri in client.uris]
                if due:
                    client.due |= dict.fromkeys(due)
                    client.wake.set()
            for uri in changed:
                await self.bus.publish(ResourcesListChanged() if uri == _LIST else ResourceUpdated(uri=uri))
            await anyio.sleep(PERIOD_S)

    def _greet(self, connection: sdk.Connection) -> None:
        if connection in self._clients:
            return
        client = self._clients[connection] = _Client()
        connection.on_close(lambda: self._forget(connection))
        self._start(self._pump, connection, client)

    def _subscribe(self, connection: sdk.Connection, uri: str) -> None:
        self._greet(connection)
        uris = self._clients[connection].uris
        _check([uri])
        if len(uris | {uri}) > MAX_SUBSCRIPTIONS:
            raise _too_many()
        uris.add(uri)
        self._wanted = True

    def _unsubscribe(self, connection: sdk.Connection, uri: str) -> None:
        if client := self._clients.get(connection):
            client.uris.discard(uri)
            self._look_who_wants()

    def _forget(self, connection: sdk.Connection) -> None:
        if client := self._clients.pop(connection, None):
            client.scope.cancel()
            self._look_who_wants()

    def _look_who_wants(self) -> None:
        self._wanted = any(client.uris for client in self._clients.values())

    async def _pump(self, connection: sdk.Connection, client: _Client) -> None:
        with client.scope:
            while True:
                await client.wake.wait()
                client.wake = anyio.Event()
                while client.due:
                    uri = next(iter(client.due))
                    del client.due[uri]
                    # Blocks while the client does not read; only this task waits for it.
                    if uri == _LIST:
                        await connection.send_resource_list_changed()
                    else:
                        await connection.send_resource_updated(uri)
