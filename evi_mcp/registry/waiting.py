"""Sleeping until something happens in any of many chats. Nothing is polled: who logs an event wakes the sleeper."""

from collections.abc import Callable
from enum import StrEnum

import anyio

from evi_mcp.chat.events import CHAT_STATE, Event
from evi_mcp.protocol.lifecycle import OVER


class WokenBy(StrEnum):
    """Why a wait returned."""

    EVENT = "event"
    CHAT_ENDED = "chat_ended"
    TIMEOUT = "timeout"


class Wait:
    """One sleeper. `see` is called with every event of the chats that it covers."""

    def __init__(self, wanted: Callable[[Event], bool]) -> None:
        self._wanted = wanted
        self._woken = anyio.Event()
        self.by = WokenBy.TIMEOUT
        self.reason: str | None = None

    def see(self, event: Event) -> None:
        """Wakes the sleeper if the event is wanted or ends its chat."""
        if ends_chat(event):
            self.by, self.reason = WokenBy.CHAT_ENDED, event.reason
        elif self.by is WokenBy.TIMEOUT and self._wanted(event):
            self.by = WokenBy.EVENT
        if self.by is not WokenBy.TIMEOUT:
            self._woken.set()

    async def sleep(self, seconds: float) -> None:
        """Returns when woken, or after this many seconds."""
        with anyio.move_on_after(seconds):
            await self._woken.wait()


def ends_chat(event: Event) -> bool:
    """Whether nothing more will come of the event's chat."""
    return event.type == CHAT_STATE and event.state in OVER
