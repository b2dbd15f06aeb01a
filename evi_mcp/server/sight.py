"""What a subscriber hears of: changes of chats that it may see, and of no other.

Even that something has changed somewhere is a trace of a chat.
"""

import logging
from collections.abc import Callable, Mapping

import anyio.lowlevel
from mcp.server.subscriptions import ResourcesListChanged, ResourceUpdated, ServerEvent, ToolsListChanged

from evi_mcp import uris
from evi_mcp.server.callers import desk_or_none
from evi_mcp.server.offers import commands_beyond_evi
from evi_mcp.supervision.desk import Desk

LIST = "\0list"
"""Stands for the list of resources among the URIs,"""
TOOLS = "\0tools"
"""and this for the list of tools."""

Changes = Mapping[str, set[str]]
"""The URIs that have changed, each with the ids of the chats that it has changed for; `LIST` and `TOOLS` with none."""

_log = logging.getLogger(__name__)


class Sight:
    """Of one subscriber. `desk` is where it sits; `None` for one inside the server, who sees everything."""

    def __init__(self, desk: Desk | None) -> None:
        self._desk = desk
        self._listed = self._attached()
        self._offered = self._commands()

    def of(self, changes: Changes) -> list[str]:
        """The URIs that have changed for it."""
        seen = [uri for uri, chats in changes.items() if any(map(self._sees, chats))]
        if TOOLS in changes and (self._desk is None or self._offered != self._commands()):
            self._offered = self._commands()
            seen.append(TOOLS)
        if LIST in changes and (self._desk is None or self._listed != self._attached()):
            self._listed = self._attached()
            seen += [LIST, *([] if uris.CHATS in seen else [uris.CHATS])]
        return seen

    def _sees(self, chat_id: str) -> bool:
        return self._desk is None or self._desk.sees(chat_id)

    def _attached(self) -> list[int]:
        """The chats that it can list, each as it was attached."""
        return [id(chat) for chat in self._desk.chats()] if self._desk is not None else []

    def _commands(self) -> frozenset[str]:
        return commands_beyond_evi(self._desk) if self._desk is not None else frozenset()


_LISTS: Mapping[str, Callable[[], ServerEvent]] = {LIST: ResourcesListChanged, TOOLS: ToolsListChanged}


class Bus:
    """Tells those who listen; a `SubscriptionBus` of the SDK."""

    def __init__(self) -> None:
        self._listeners: dict[object, tuple[Callable[[ServerEvent], None], Sight]] = {}

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """From now on `listener` is told, for whoever makes the request that runs; undone by what is returned."""
        token = object()
        self._listeners[token] = listener, Sight(desk_or_none())

        def unsubscribe() -> None:
            self._listeners.pop(token, None)

        return unsubscribe

    async def publish(self, event: ServerEvent) -> None:
        """Tells everybody. The SDK wants it; nothing here does it."""
        for listener, _ in list(self._listeners.values()):
            _tell(listener, event)
        await anyio.lowlevel.checkpoint()

    async def tell(self, changes: Changes) -> None:
        """Tells each of what has changed for it."""
        for listener, sight in list(self._listeners.values()):
            for uri in sight.of(changes):
                _tell(listener, _LISTS[uri]() if uri in _LISTS else ResourceUpdated(uri=uri))
                await anyio.lowlevel.checkpoint()  # else its stream would overflow before it can be read


def _tell(listener: Callable[[ServerEvent], None], event: ServerEvent) -> None:
    try:
        listener(event)
    except Exception:
        _log.exception("a listener failed")
