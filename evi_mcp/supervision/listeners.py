"""The listeners of a chat's events. Many may wait for one chat, and each comes and goes with its wait."""

import logging
from collections.abc import Callable, Collection

from evi_mcp.chat.events import Event
from evi_mcp.logs import fields

_log = logging.getLogger(__name__)

Listener = Callable[[Event], None]


class Listeners:
    """A set of listeners. They may be added and removed while they are called.

    Those that want all events are called first, then those that named the type of the event, each in the order of
    adding. Listeners for other types cost nothing: a thousand may wait on a chat that never stops.
    """

    def __init__(self) -> None:
        self._all: dict[Listener, None] = {}
        self._by_type: dict[str, dict[Listener, None]] = {}
        self._types: dict[Listener, frozenset[str]] = {}
        self._called: dict[str, tuple[Listener, ...]] = {}  # by type, for types that a listener has named
        self._called_always: tuple[Listener, ...] = ()  # for all other types

    def __len__(self) -> int:
        return len(self._all) + len(self._types)

    def add(self, listener: Listener, types: Collection[str] | None = None) -> None:
        """Calls `listener` from now on with every event of these types, as it is logged; `None` for all types.

        It must be fast. If it raises, the error is logged, and the other listeners are still called.
        """
        self.remove(listener)
        if types is None:
            self._all[listener] = None
            self._forget_order()
        else:
            self._types[listener] = frozenset(types)
            for name in self._types[listener]:
                self._by_type.setdefault(name, {})[listener] = None
                self._called.pop(name, None)

    def remove(self, listener: Listener) -> None:
        """Undoes `add`; an unknown listener is ignored."""
        if listener in self._all:
            del self._all[listener]
            self._forget_order()
        for name in self._types.pop(listener, ()):
            del self._by_type[name][listener]
            self._called.pop(name, None)
            if not self._by_type[name]:
                del self._by_type[name]

    def clear(self) -> None:
        """Removes all listeners."""
        for listener in (*self._all, *self._types):
            self.remove(listener)

    def tell(self, event: Event) -> None:
        """Calls every listener that wants the event."""
        if not self._called_always and self._all:
            self._called_always = tuple(self._all)
        if event.type not in self._by_type:
            called = self._called_always
        elif (called := self._called.get(event.type, ())) == ():
            called = self._called[event.type] = (*self._called_always, *self._by_type[event.type])
        for listener in called:
            try:
                listener(event)
            except Exception:
                _log.exception("a listener failed", extra=fields(chat_id=event.chat_id, seq=event.seq, type=event.type))

    def _forget_order(self) -> None:
        self._called_always = ()
        self._called.clear()
