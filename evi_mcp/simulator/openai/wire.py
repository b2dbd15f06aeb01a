"""What the parts of a simulated call share: the clock, ids, the conversation, and the way out.

Shapes: the event types of the `openai` SDK 3.57.
"""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from evi_mcp.simulator.processes import Wait

Object = dict[str, Any]
Publish = Callable[[Object], None]


class Refused(Exception):
    """A client event that is answered with an `error`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Wire:
    """A call's clock, its ids and its conversation.

    Args:
        publish: Takes each event, for every socket of the call.
        chance: Seeded; makes the ids.
        now: Seconds.
        speed: How many times faster than life the script plays.
    """

    def __init__(self, publish: Publish, chance: Random, *, now: float, speed: float) -> None:
        self._publish = publish
        self._chance = chance
        self._speed = speed
        self.now = now
        self.started = now
        self.items: dict[str, Object] = {}
        self.order: list[str] = []
        self.conversation_id = self.new_id("conv")
        self.ending: str | None = None

    def new_id(self, kind: str) -> str:
        """An id as the service makes them."""
        return f"{kind}_{self._chance.getrandbits(80):020x}"

    def after(self, seconds: float) -> Wait:
        """A wait of so many seconds of the script."""
        return Wait(until=self.now + seconds / self._speed)

    @property
    def audio_ms(self) -> int:
        """The position in the caller's audio, as the script counts it."""
        return int((self.now - self.started) * self._speed * 1000)

    def event(self, type_: str, /, **fields: Any) -> Object:
        """An event with an id of its own."""
        return {"type": type_, "event_id": self.new_id("event"), **fields}

    def emit(self, type_: str, /, **fields: Any) -> None:
        """Sends an event to every socket."""
        if self.ending is None:
            self._publish(self.event(type_, **fields))

    def add(self, item: Mapping[str, Any], after: str | None = None) -> Object:
        """Adds an item to the conversation, at the end or behind another, and tells of it."""
        kept = {"object": "realtime.item", **item}
        place = len(self.order)
        if after == "root":
            place = 0
        elif after is not None:
            if after not in self.items:
                raise Refused("item_not_found", "previous_item_id names no item")
            place = self.order.index(after) + 1
        self.items[kept["id"]] = kept
        self.order.insert(place, kept["id"])
        self.emit("conversation.item.added", item=shown(kept), previous_item_id=self.before(kept["id"]))
        return kept

    def done(self, item: Object) -> None:
        """Tells that an item is as it will be."""
        if item["id"] in self.items:
            self.emit("conversation.item.done", item=shown(item), previous_item_id=self.before(item["id"]))

    def before(self, item_id: str) -> str | None:
        """The item before another one."""
        place = self.order.index(item_id)
        return self.order[place - 1] if place else None


def shown(item: Object) -> Object:
    """An item as events have it: a copy, without audio."""
    content = [{**part} for part in item.get("content", ())]
    for part in content:
        part.pop("audio", None)
    return {**item, **({"content": content} if "content" in item else {})}
