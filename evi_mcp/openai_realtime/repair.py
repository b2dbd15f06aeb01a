"""What was missed while the connection was away: found out as far as the service allows, and said where it does not.

Nothing is sent again after a reconnect (not documented; taken as given). Three things help: items that were begun can
be asked for by id, `response.done` holds all of a response, and `previous_item_id` of the next item names the one
before it. Further back nothing can be walked.
"""

from collections import OrderedDict
from typing import Literal

from evi_mcp.openai_realtime.outbox import Outbox
from evi_mcp.openai_realtime.reading import Message
from evi_mcp.openai_realtime.responses import is_end
from evi_mcp.openai_realtime.timeline import Timeline

MAX_ASKED = 200

BEFORE_ATTACH: Message = {
    "type": "history_truncated",
    "reason": "before_attach",
    "message": "The service gives no history: what was said before this moment is not known.",
}


def dropped(restored: bool) -> Message:
    """The message that says that something may be missing here.

    Args:
        restored: Whether what follows directly was restored.
    """
    what = "what was said before the next message" if restored else "what was said meanwhile"
    return {
        "type": "messages_dropped",
        "reason": "reconnected",
        "message": f"The connection to the service was away, and {what} may be missing here.",
    }


class Repair:
    """Asks for what was missed.

    Args:
        outbox: Where client events are written.
        timeline: Where what comes back has its place.
    """

    def __init__(self, outbox: Outbox, timeline: Timeline) -> None:
        self._outbox = outbox
        self._timeline = timeline
        self._asked: OrderedDict[str, str] = OrderedDict()  # the item, by the event that asks for it
        self._gap: Literal["none", "open", "told"] = "none"
        self._known: frozenset[str] = frozenset()

    def reconnected(self, own_items: tuple[str, ...]) -> None:
        """The connection is back: from here on nothing is missed, before it anything may have been.

        Args:
            own_items: Items that were written, of which nobody knows whether they have arrived.
        """
        self._asked.clear()
        self._gap, self._known = "open", self._timeline.keys
        for key in (*self._timeline.open_keys, *own_items):
            if not is_end(key):
                self.ask_for(key)

    def ask_for(self, key: str) -> None:
        """Asks for an item; `conversation.item.retrieved` or an `error` is the answer."""
        self._asked[self._outbox.send("conversation.item.retrieve", item_id=key)] = key
        if len(self._asked) > MAX_ASKED:
            self._asked.popitem(last=False)

    def failed(self, event_id: str) -> str | None:
        """An `error` for a client event: the item that was asked for, and is not there; `None` if it was another."""
        return self._asked.pop(event_id, None)

    def joins(self, key: str, previous: str | None) -> None:
        """An item joins the conversation; called before it gets its place. The first after a gap shows what is missing.

        Args:
            key: Its id.
            previous: The item before it; `None` if there is none, or the service does not say.
        """
        if self._gap == "none" or not key or key in self._known:
            return
        if previous is None:
            self._tell(restored=False)
        elif previous not in self._timeline:
            self._tell(restored=True)
            self._timeline.before(key, previous)
            self.ask_for(previous)
        self._gap = "none"

    def mentions(self, key: str) -> None:
        """A response, or what was said, is told of without its beginning: what it follows may be missing."""
        if self._gap == "open" and key not in self._known:
            self._tell(restored=False)
            self._gap = "told"

    def _tell(self, *, restored: bool) -> None:
        if self._gap == "open":
            self._timeline.last(dropped(restored))
