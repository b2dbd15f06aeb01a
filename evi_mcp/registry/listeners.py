"""Who is told of events: many may wait for the same chat, and each comes and goes with its wait."""

from collections.abc import Callable

from evi_mcp.chat.events import Event

Listener = Callable[[Event], None]


class Listeners:
    """Listeners, each once, in the order in which they came. They may come and go while they are called."""

    def __init__(self) -> None:
        self._all: dict[Listener, None] = {}
        self._called: tuple[Listener, ...] = ()

    def __len__(self) -> int:
        return len(self._all)

    def add(self, listener: Listener) -> None:
        """From now on `listener` gets every event, as it is logged. It must be quick and must not raise."""
        self._all[listener] = None
        self._called = ()

    def remove(self, listener: Listener) -> None:
        """Undoes `add`; unknown ones are ignored."""
        self._all.pop(listener, None)
        self._called = ()

    def clear(self) -> None:
        """Removes all of them."""
        self._all.clear()
        self._called = ()

    def tell(self, event: Event) -> None:
        """Calls all that there are now."""
        if not self._called:
            self._called = tuple(self._all)
        for listener in self._called:
            listener(event)
