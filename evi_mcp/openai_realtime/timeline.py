"""Everything where it belongs: messages leave in the order of the conversation, not in that in which they come.

The text of what the caller said often comes after the answer to it. So each item of the conversation has a place, and
what is ready waits for the places before it: at most `PATIENCE_S`, for a supervisor has to hear of a tool call in time.
What comes for a place that was given up goes out at once, with `late`; if nothing comes for `LOST_AFTER_S`, that is
said.

No clock: `now` is seconds of a clock that nobody sets.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from evi_mcp.openai_realtime.reading import Message

PATIENCE_S = 3.0
"""How long what is ready waits for a place before it."""
LOST_AFTER_S = 30.0
"""After so long it is said that what a place was to hold is lost."""
MAX_PLACES = 1000
MAX_REMEMBERED = 10_000
"""Places that are past and still known, so that nothing goes out twice."""


@dataclass(eq=False)
class Place:
    """The place of an item.

    `group` is the response that it is part of. `messages` is `None` until it is known what to publish. `instead` is
    published if that comes too late, `never` if it does not come at all; without it nothing is said then.
    """

    key: str
    group: str | None = None
    messages: list[Message] | None = None
    instead: list[Message] = field(default_factory=list)
    never: list[Message] = field(default_factory=list)
    blocks_since: float | None = None
    since: float | None = None
    given_up: bool = False


class Timeline:
    """The places of a conversation that are not past yet."""

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._by_key: dict[str, Place] = {}
        self._past: OrderedDict[str, Place] = OrderedDict()
        self._lost: dict[str, Place] = {}  # those for which something is said if nothing comes
        self._out: list[Message] = []

    def __contains__(self, key: str) -> bool:
        return key in self._by_key or key in self._past

    def __len__(self) -> int:
        return len(self._places)

    @property
    def keys(self) -> frozenset[str]:
        """All places that are known."""
        return frozenset((*self._by_key, *self._past))

    @property
    def open_keys(self) -> tuple[str, ...]:
        """The places of which it is not known yet what they hold, those included that were given up."""
        given_up = (key for key, place in self._past.items() if place.given_up)
        return *given_up, *(place.key for place in self._places if place.messages is None)

    def is_open(self, key: str) -> bool:
        """Whether a place is known, and what it holds is not."""
        if key in self._by_key:
            return self._by_key[key].messages is None
        return key in self._past and self._past[key].given_up

    def is_next(self, key: str) -> bool:
        """Whether nothing stands before this place."""
        return bool(self._places) and self._places[0].key == key

    def place(
        self,
        key: str,
        *,
        after: str | None = None,
        group: str | None = None,
    ) -> None:
        """Makes a place; nothing happens if there is or was one.

        Args:
            key: Of the item, or of the end of a response.
            after: The item before it, as the service says; `None` if it does not: then it comes last.
            group: The response that it is part of: its own end stays behind it.
        """
        if key in self:
            return
        place = Place(key, group)
        self._places.insert(self._index(after, group), place)
        self._by_key[key] = place

    def before(self, key: str, new: str) -> None:
        """Makes a place right before another one and all that it is part of; last, if that has no place yet."""
        if new in self:
            return
        known = self._by_key.get(key)
        index = len(self._places)
        if known is not None:
            index = min(self._members(known.group)) if known.group is not None else self._places.index(known)
        place = Place(new)
        self._places.insert(index, place)
        self._by_key[new] = place

    def otherwise(self, key: str, messages: Iterable[Message]) -> bool:
        """Says what is published if nothing better comes in time; whether the place still waits."""
        place = self._by_key.get(key)
        if place is None or place.messages is not None:
            return False
        place.instead = list(messages)
        return True

    def promise(self, key: str, never: Iterable[Message]) -> None:
        """Says what is published if what a place is to hold does not come at all; only the first call counts."""
        place = self._by_key.get(key) or self._past.get(key)
        if place is None or place.never or not self.is_open(key):
            return
        place.never = list(never)
        self._lost[key] = place
        if len(self._lost) > MAX_PLACES:
            del self._lost[next(iter(self._lost))]

    def fill(self, key: str, messages: Iterable[Message], *, late: bool = True) -> bool:
        """Says what a place holds; only the first call counts. Whether it did.

        Args:
            key: Of the place.
            messages: What it holds, perhaps nothing.
            late: Whether that is still published where the place was given up.
        """
        place = self._by_key.get(key)
        if place is not None:
            if place.messages is not None:
                return False
            place.messages = list(messages)
            return True
        past = self._past.get(key)
        if past is None or not past.given_up:
            return False
        past.given_up = False
        if late:
            self._out += ({**message, "late": True} for message in messages)
        return late

    def now(self, *messages: Message) -> None:
        """Publishes something before all that still waits."""
        self._out += messages

    def last(self, *messages: Message) -> None:
        """Publishes something behind all that is known."""
        if self._places:
            self._places.append(Place("", messages=list(messages)))
        else:
            self._out += messages

    def take(self, now: float) -> list[Message]:
        """What can be published now, in order."""
        for key, place in tuple(self._lost.items()):
            place.since = now if place.since is None else place.since
            if not self.is_open(key):
                del self._lost[key]
            elif now >= place.since + LOST_AFTER_S:
                self.fill(key, place.never)
                del self._lost[key]
        while self._places:
            place = self._places[0]
            if place.messages is None:
                if not any(other.messages for other in self._places):
                    break
                if place.blocks_since is None:
                    place.blocks_since = now
                if now < place.blocks_since + PATIENCE_S and len(self._places) <= MAX_PLACES:
                    break
            self._leave(place)
        out, self._out = self._out, []
        return out

    def finish(self) -> list[Message]:
        """The call is over: all that waits, in order, and what is said of that which did not come."""
        for key, place in tuple(self._lost.items()):
            self.fill(key, place.never)
        self._lost.clear()
        while self._places:
            self._leave(self._places[0])
        out, self._out = self._out, []
        return out

    def next_due(self) -> float | None:
        """When `take` should be called at the latest; `None` if nothing waits for a time."""
        blocks = [place.blocks_since + PATIENCE_S for place in self._places[:1] if place.blocks_since is not None]
        lost = [place.since + LOST_AFTER_S for place in self._lost.values() if place.since is not None]
        return min(blocks + lost, default=None)

    def _leave(self, place: Place) -> None:
        del self._places[0]
        self._out += place.instead if place.messages is None else place.messages
        if place.key:
            del self._by_key[place.key]
            self._past[place.key] = place
            place.given_up = place.messages is None
            place.messages, place.instead = None, []
            if len(self._past) > MAX_REMEMBERED:
                self._past.popitem(last=False)

    def _index(self, after: str | None, group: str | None) -> int:
        """Where a new place belongs. What is inserted behind a part of a response comes behind all of it."""
        if group is not None:
            members = list(self._members(group))
            return members[-1] if members else len(self._places)  # before the end of the response, which is the last
        if after is None or after not in self:
            return len(self._places)
        known = self._by_key.get(after)
        former = (known or self._past[after]).group
        behind = [*self._members(former)] if former is not None else []
        if known is not None:
            behind.append(self._places.index(known))
        return max(behind) + 1 if behind else 0

    def _members(self, group: str) -> Iterator[int]:
        return (index for index, place in enumerate(self._places) if place.group == group)
