"""Telling clients of both protocol eras that a resource changed.

A client of 2026-07-28 listens (`subscriptions/listen`), an older one subscribes (`resources/subscribe`). Both are told
at most ten times a second for each URI, and only that it changed: they read it again. Each older client has a task and
a set of its own, so one that does not read holds up nobody. What is yet to be told is never more than what is
subscribed to.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.lowlevel
import mcp_types as types
from mcp.server import MCPServer
from mcp.shared.exceptions import MCPError

from evi_mcp import uris
from evi_mcp.chat.events import CHAT_METADATA, CHAT_STATE, MINOR_TYPES, Event
from evi_mcp.server import sdk
from evi_mcp.server.callers import desk_or_none
from evi_mcp.server.sight import LIST, TOOLS, Bus, Sight

PERIOD_S = 0.1
MAX_SUBSCRIPTIONS = 10_000
"""Of one client, or of one `subscriptions/listen`; all views of 1,000 chats are 4,000."""
MAX_CHARS = 2**20
"""Characters of the URIs of one client, or of one `subscriptions/listen`; all views of 1,000 chats take 300,000."""
MAX_ALL_CHARS = 8 * 2**20
"""Characters of the URIs of all clients together."""


def touched_by(event: Event) -> list[str]:
    """The URIs of what an event changes."""
    if event.type == "audio_output" and event.message_id is not None:
        return [uris.audio(event.chat_id, event.message_id)]
    if (event.type in MINOR_TYPES or event.interim) and event.type not in ("assistant_prosody", "user_prosody"):
        return []
    touched = [uris.chat(event.chat_id, uris.EVENTS), uris.chat(event.chat_id), uris.CHATS]
    if event.type in ("user_message", "assistant_message", "assistant_prosody", "user_prosody", "user_interruption"):
        touched.append(uris.chat(event.chat_id, uris.TRANSCRIPT))
    if event.tool_call_id is not None:
        touched.append(uris.chat(event.chat_id, uris.TOOL_CALLS))
    return touched


class Subscriptions:
    """Which URIs anybody wants to hear of, and how much room they take."""

    def __init__(self) -> None:
        self._wanted: Counter[str] = Counter()
        self._chars = 0

    def __bool__(self) -> bool:
        return bool(self._wanted)

    def __contains__(self, uri: str) -> bool:
        return uri in self._wanted

    def add(self, new: Collection[str], *, beside: Collection[str] = ()) -> None:
        """Takes in URIs of a client that has those of `beside` already.

        Raises:
            MCPError: A client of one would wait for ever, or there is no room; none is taken in then.
        """
        for uri in new:
            if not uris.can_change(uri):
                raise MCPError(
                    types.INVALID_PARAMS,
                    f"nothing there can be subscribed to; subscribe to {uris.CHATS}, {uris.CHAT_TEMPLATE}, or its"
                    f" /{uris.EVENTS}, /{uris.TRANSCRIPT}, /{uris.TOOL_CALLS} or /audio/{{message_id}}, without a"
                    " query.",
                )
        chars = sum(map(len, new))
        if len(new) + len(beside) > MAX_SUBSCRIPTIONS:
            raise MCPError(types.INVALID_PARAMS, f"{MAX_SUBSCRIPTIONS} subscriptions are the most; leave some first.")
        if chars + sum(map(len, beside)) > MAX_CHARS:
            raise MCPError(
                types.INVALID_PARAMS, f"all subscriptions together may have {MAX_CHARS} characters; leave some first."
            )
        if chars + self._chars > MAX_ALL_CHARS:
            raise MCPError(types.INVALID_PARAMS, "the clients of this server have too many subscriptions; try later.")
        self._wanted.update(new)
        self._chars += chars

    def discard(self, old: Collection[str]) -> None:
        """Undoes `add`."""
        self._wanted.subtract(old)
        self._chars -= sum(map(len, old))
        for uri in old:
            if not self._wanted[uri]:
                del self._wanted[uri]


class _Client:
    """An older client: what it subscribed to, and what it has yet to be told."""

    def __init__(self) -> None:
        self.sight = Sight(desk_or_none())
        self.uris: dict[str, None] = {}
        self.due: dict[str, None] = {}
        self.wake = anyio.Event()
        self.scope = anyio.CancelScope()


class Updates:
    """From events to notifications. `start` runs a coroutine function in the background."""

    def __init__(self, start: Callable[..., None]) -> None:
        self.bus = Bus()
        self._start = start
        self._clients: dict[sdk.Connection, _Client] = {}
        self._subscriptions = Subscriptions()
        self._changed: dict[str, set[str]] = {}
        self._wake = anyio.Event()

    def install(self, server: MCPServer[Any]) -> None:
        """Serves subscriptions on `server`, which must have been made with this object's `bus`."""
        sdk.serve_subscriptions(server, self._subscribe, self._unsubscribe)
        sdk.report_clients(server, self._greet)
        sdk.report_listening(server, self._listening)

    def see(self, event: Event) -> None:
        """Takes note of an event, if anybody wants to know of any; never blocks."""
        if event.type in (CHAT_METADATA, CHAT_STATE):  # what a chat takes is known, or it takes nothing any more
            self._note(TOOLS)
        if not self._subscriptions:
            return
        wanted = [uri for uri in touched_by(event) if uri in self._subscriptions]
        if wanted:
            for uri in wanted:
                self._changed.setdefault(uri, set()).add(event.chat_id)
            self._wake.set()

    def list_changed(self) -> None:
        """The list of resources is another one now, and perhaps that of tools."""
        self._note(LIST)
        self._note(TOOLS)

    def _note(self, list_: str) -> None:
        self._changed.setdefault(list_, set())
        self._wake.set()

    async def run(self) -> None:
        """Passes changes on, for ever."""
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            changed, self._changed = self._changed, {}
            for client in list(self._clients.values()):
                due = [uri for uri in client.sight.of(changed) if uri in (LIST, TOOLS) or uri in client.uris]
                if due:
                    client.due |= dict.fromkeys(due)
                    client.wake.set()
                await anyio.lowlevel.checkpoint()  # there may be many of them, and many URIs
            await self.bus.tell(changed)
            await anyio.sleep(PERIOD_S)

    @contextmanager
    def _listening(self, wanted: list[str]) -> Iterator[None]:
        """While a client of 2026-07-28 listens to these URIs.

        Raises:
            MCPError: As `Subscriptions.add`.
        """
        self._subscriptions.add(wanted)
        try:
            yield
        finally:
            self._subscriptions.discard(wanted)

    def _greet(self, connection: sdk.Connection) -> None:
        if connection in self._clients:
            return
        client = self._clients[connection] = _Client()
        connection.on_close(lambda: self._forget(connection))
        self._start(self._pump, connection, client)

    def _subscribe(self, connection: sdk.Connection, uri: str) -> None:
        self._greet(connection)
        client = self._clients[connection]
        if uri not in client.uris:
            self._subscriptions.add([uri], beside=client.uris)
            client.uris[uri] = None

    def _unsubscribe(self, connection: sdk.Connection, uri: str) -> None:
        client = self._clients.get(connection)
        if client is not None and uri in client.uris:
            del client.uris[uri]
            client.due.pop(uri, None)
            self._subscriptions.discard([uri])

    def _forget(self, connection: sdk.Connection) -> None:
        if client := self._clients.pop(connection, None):
            client.scope.cancel()
            self._subscriptions.discard(client.uris)

    async def _pump(self, connection: sdk.Connection, client: _Client) -> None:
        with client.scope:
            while True:
                await client.wake.wait()
                client.wake = anyio.Event()
                while client.due:
                    uri = next(iter(client.due))
                    del client.due[uri]
                    # Blocks while the client does not read; only this task waits for it.
                    if uri == LIST:
                        await connection.send_resource_list_changed()
                    elif uri == TOOLS:
                        await connection.send_tool_list_changed()
                    else:
                        await connection.send_resource_updated(uri)
