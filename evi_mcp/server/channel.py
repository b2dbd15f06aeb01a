"""Cues for Claude Code, which can wake its model on a notification of its own kind.

`notifications/claude/channel` (research preview, handshake clients on stdio) puts text in front of the model without
being asked. So a cue says that something happened and how much of it, never what: no speech, no words from a chat.
Source: Claude Code's page on channels; a client that has not enabled this server's channel drops cues silently.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial

import anyio
from mcp.server import MCPServer

from evi_mcp.chat.events import CHAT_STATE, Event
from evi_mcp.chat.pages import Filter
from evi_mcp.clock import sleep
from evi_mcp.server import sdk
from evi_mcp.server.callers import Seat, current_desk
from evi_mcp.supervision.desk import Desk
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


class Channel:
    """From events to cues, at most one every `PERIOD_S` seconds for each client. `start` runs something in the
    background."""

    def __init__(self, start: Callable[..., None]) -> None:
        self._start = start
        self._cued: set[sdk.Connection] = set()

    def install(self, server: MCPServer[Seat]) -> None:
        """Announces the channel to handshake clients of `server`, and begins to cue those that come."""
        sdk.announce(server, CAPABILITY)
        sdk.report_clients(server, self._greet)

    def _greet(self, connection: sdk.Connection) -> None:
        if connection in self._cued:
            return
        self._cued.add(connection)
        scope = anyio.CancelScope()
        connection.on_close(scope.cancel)
        connection.on_close(lambda: self._cued.discard(connection))
        self._start(self._cue, connection, current_desk(), scope)

    async def _cue(self, connection: sdk.Connection, desk: Desk, scope: anyio.CancelScope) -> None:
        counts: dict[str, Counter[str]] = {}
        due = False
        with scope, desk.feed(after=desk.cursors.last_seq) as feed:
            async for batch in feed:
                for event in filter(partial(_counts, Filter(reader=desk.caller.signature)), batch.events):
                    kind = event.type if event.type in KNOWN_EVENTS else "other"
                    count_in(counts, event.chat_id, kind)
                    due = due or kind in CUES
                if due and not feed.is_behind:
                    cue = {"content": cue_text(counts), "meta": {"cursor": desk.cursors.at(desk.cursors.last_seq)}}
                    await connection.notify(METHOD, cue)  # blocks while the client does not read; only this task waits
                    counts, due = {}, False
                    await sleep(desk.clock, PERIOD_S)


def _counts(wanted: Filter, event: Event) -> bool:
    """Whether an event is news. Of what comes with a history most is none; but a tool call that came during an outage
    may still wait."""
    return wanted.shows(event) and (not event.replayed or bool(event.response_required))


def count_in(counts: dict[str, Counter[str]], chat_id: str, kind: str) -> None:
    """Counts an event of a chat, by type."""
    place = chat_id if chat_id in counts or len(counts) < MAX_COUNTED else OTHERS
    counts.setdefault(place, Counter())[kind] += 1


def cue_text(counts: dict[str, Counter[str]]) -> str:
    """What happened, in numbers; chat ids and types are all that is taken from outside, and both are checked."""
    parts = [
        f"{chat_id}: {', '.join(f'{number} {kind}' for kind, number in kinds.items())}"
        for chat_id, kinds in list(counts.items())[:MAX_CHATS]
    ]
    if len(counts) > MAX_CHATS:
        parts.append(f"and {len(counts) - MAX_CHATS} more chats")
    return f"{'; '.join(parts)}. Read it with wait_for_events and your last cursor."
