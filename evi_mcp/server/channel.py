"""Cues for Claude Code, which can wake its model on a notification of its own kind.

`notifications/claude/channel` (research preview, handshake clients on stdio) puts text in front of the model without
being asked. So a cue says that something happened and how much of it, never what: no speech, no words from a chat.
Source: Claude Code's page on channels; a client that has not enabled this server's channel drops cues silently.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
from mcp.server import MCPServer

from evi_mcp.chat.events import CHAT_STATE, Event
from evi_mcp.ledger.log import Cursors
from evi_mcp.server import sdk
from evi_mcp.views.text import KNOWN_EVENTS

CAPABILITY = "claude/channel"
METHOD = "notifications/claude/channel"
PERIOD_S = 2.0
CUES = frozenset({"user_message", "tool_call", "error", CHAT_STATE})
"""Types that are worth a turn of the model; what else has happened is counted along with them."""
MAX_CHATS = 20
"""Chats named in one cue; of more only the number is told."""
MAX_COUNTED = 1000
"""Chats that are counted for a client that does not read; what happens in others is told without their ids."""
OTHERS = "other chats"


class _Client:
    """A client, and what it has yet to be told: by chat, the number of events of each type."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}
        self.due = anyio.Event()
        self.scope = anyio.CancelScope()

    def count(self, chat_id: str, kind: str) -> None:
        """Counts an event in."""
        place = chat_id if chat_id in self.counts or len(self.counts) < MAX_COUNTED else OTHERS
        self.counts.setdefault(place, Counter())[kind] += 1


class Channel:
    """From events to cues, at most one every `PERIOD_S` seconds for each client."""

    def __init__(self, start: Callable[..., None], cursors: Cursors) -> None:
        self._start = start
        self._cursors = cursors
        self._clients: dict[sdk.Connection, _Client] = {}

    def install(self, server: MCPServer[Any]) -> None:
        """Announces the channel to handshake clients of `server`, and begins to cue those that come."""
        sdk.announce(server, CAPABILITY)
        sdk.report_clients(server, self._greet)

    def see(self, event: Event) -> None:
        """Takes note of an event; never blocks."""
        # Of what comes with a history most is no news; but a call that came during an outage may still wait.
        if event.hidden or (event.replayed and not event.response_required):
            return
        kind = event.type if event.type in KNOWN_EVENTS else "other"
        for client in self._clients.values():
            client.count(event.chat_id, kind)
            if kind in CUES:
                client.due.set()

    def _greet(self, connection: sdk.Connection) -> None:
        if connection in self._clients:
            return
        client = self._clients[connection] = _Client()
        connection.on_close(lambda: self._forget(connection))
        self._start(self._pump, connection, client)

    def _forget(self, connection: sdk.Connection) -> None:
        if client := self._clients.pop(connection, None):
            client.scope.cancel()

    async def _pump(self, connection: sdk.Connection, client: _Client) -> None:
        with client.scope:
            while True:
                await client.due.wait()
                client.due = anyio.Event()
                counts, client.counts = client.counts, {}
                cue = {"content": cue_text(counts), "meta": {"cursor": self._cursors.at(self._cursors.last_seq)}}
                await connection.notify(METHOD, cue)  # blocks while the client does not read; only this task waits
                await anyio.sleep(PERIOD_S)


def cue_text(counts: dict[str, Counter[str]]) -> str:
    """What happened, in numbers; chat ids and types are all that is taken from outside, and both are checked."""
    parts = [
        f"{chat_id}: {', '.join(f'{number} {kind}' for kind, number in kinds.items())}"
        for chat_id, kinds in list(counts.items())[:MAX_CHATS]
    ]
    if len(counts) > MAX_CHATS:
        parts.append(f"and {len(counts) - MAX_CHATS} more chats")
    return f"{'; '.join(parts)}. Read it with wait_for_events and your last cursor."
