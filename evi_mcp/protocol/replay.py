"""Which received messages are new: EVI replays the chat on every connection and marks no boundary.

`History` is asked once for every message, in the order of arrival, and is told when a replay begins and
when it has ended (a quiet gap, which only the I/O can see). It answers by two rules.

1. An event with an identity of its own is known by it for the whole life of the chat.
2. An event without one is known, while the replay runs, if the chat has had one just like it that this
   replay has not given back yet. Three things can end that for its type before the replay ends:
   * *left out*: the replay has gone past the places of more of the type's events than can be hidden in
     frames that nobody could read, and none came, so it leaves the type out and what comes is live;
   * *passed*: nothing of the type has come back so far, and the replay is past the last known event that it
     can hold, for more new ones came than frames that nobody could read when they came first;
   * *cut*: the replay began later in the chat than what is known, so what lies before is not counted.

Where a stream of frames has two readings, the second rule prefers to log an event twice over losing it.
Memory: 64 bits and a place for each event, for the life of the chat, which EVI limits to 30 minutes.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict

from evi_mcp.protocol.identity import Identity

_NOWHERE = -1
_GREETING = "chat_metadata"  # opens every connection, so it says nothing of where the replay is
_UNREADABLE = "protocol_fault"


class History:
    """All that one chat has been heard to say, as identities; see the module's text for the rules."""

    def __init__(self) -> None:
        self._length = 0  # how many events there are
        self._places = 0  # and how many of them have a certain place, counted from 0
        self._place: dict[int, int] = {}  # of events with their own identity; _NOWHERE if learnt out of order
        self._own_range: dict[str, tuple[int, int]] = {}  # by type: the first and last certain place of those
        self._alike: defaultdict[int, list[int]] = defaultdict(list)  # places of the events that look like this
        self._adrift: defaultdict[int, int] = defaultdict(int)  # how many more there are, learnt out of order
        self._of_type: defaultdict[str, list[int]] = defaultdict(list)  # places of the type's events of rule 2
        self._unreadable = 0  # how many frames could not be read: each may have been any event
        self._replay: _Replay | None = None

    def __len__(self) -> int:
        return self._length

    @property
    def replaying(self) -> bool:
        """Whether what arrives may still be the replay."""
        return self._replay is not None

    @property
    def expects_more(self) -> bool:
        """Whether a known event has yet to come back, of a type that this replay has shown to hold."""
        return self._replay is not None and self._replay.expects_more

    @property
    def has_come_back(self) -> bool:
        """Whether a replay runs that has given back all that was known before it, which was something."""
        replay = self._replay
        return replay is not None and replay.known > 0 and replay.is_complete and replay.adrift_left <= 0

    @property
    def replay_has_passed(self) -> bool:
        """Whether nothing is left that a replay could repeat: it is past all that was known before, or none runs."""
        return self._replay is None or self._replay.known == 0 or self._replay.has_passed

    def begin_replay(self) -> None:
        """A connection was made: what comes next is the history, perhaps with live events in it."""
        last_own = {kind: last for kind, (_, last) in self._own_range.items()}
        adrift = sum(self._adrift.values()) - self._unreadable
        self._replay = _Replay(self._places, last_own, adrift, self._unreadable)

    def end_replay(self) -> None:
        """The replay has ended: what comes from here on is live. Calling it again does nothing."""
        self._replay = None

    def is_new(self, event: Identity) -> bool:
        """Whether this message was never received before; it counts as received from now on."""
        return self._is_new_own(event) if event.own else self._is_new_alike(event)

    def _is_new_own(self, event: Identity) -> bool:
        place = self._place.get(event.digest)
        if place is not None:
            self._saw_again(event.type, place)
            return False
        place = self._next_place(event)
        self._place[event.digest] = place
        if place != _NOWHERE:
            first, _ = self._own_range.get(event.type, (place, place))
            self._own_range[event.type] = (first, place)
        if self._replay and event.type != _GREETING:
            self._replay.new += 1
        return True

    def _saw_again(self, kind: str, place: int) -> None:
        replay = self._replay
        if replay is None or not 0 <= place < replay.known:
            return
        if kind == _GREETING:
            replay.pass_by(place if place == 0 else _NOWHERE)
            return
        if not replay.types and self._own_range[kind][0] < place:
            replay.start = place  # earlier ones of the same type did not come: the replay is cut
        replay.types.add(kind)
        if place > replay.reached:
            replay.pass_by(place)
            replay.new = 0

    def _is_new_alike(self, event: Identity) -> bool:
        replay = self._replay
        if replay and self._is_replayed(replay, event):
            replay.given_back.add(event.type)
            if event.type == _UNREADABLE:
                replay.hidden -= 1  # the service itself has it so
            return False
        if event.type == _UNREADABLE:
            self._unreadable += 1
            if replay:
                replay.unreadable += 1
        place = self._next_place(event)
        if place != _NOWHERE:
            self._alike[event.digest].append(place)
            self._of_type[event.type].append(place)
        else:
            self._adrift[event.digest] += 1
            if replay:
                replay.adrift_since[event.digest] += 1
        return True

    def _next_place(self, event: Identity) -> int:
        """The place of a new event: the end, unless it came before all that was known had come back.

        What could not be read takes none: if it was damaged on its way, it never comes back.
        """
        self._length += 1
        if event.type == _UNREADABLE or (self._replay and not self._replay.is_complete):
            return _NOWHERE
        self._places += 1
        return self._places - 1

    def _is_replayed(self, replay: "_Replay", event: Identity) -> bool:
        if event.type not in replay.given_back:
            if self._is_left_out(replay, event.type):
                return False
            if replay.has_passed and event.type not in replay.types:
                return False
        places = self._alike.get(event.digest, [])
        index = max(replay.taken[event.digest], bisect_right(places, replay.start))
        if index < len(places) and places[index] < replay.known:
            replay.taken[event.digest] = index + 1
            if places[index] > replay.reached:
                replay.ahead.append(places[index])
            return True
        if replay.adrift_taken[event.digest] < self._adrift[event.digest] - replay.adrift_since[event.digest]:
            replay.adrift_taken[event.digest] += 1
            replay.adrift_left -= event.type != _UNREADABLE
            return True
        return False

    def _is_left_out(self, replay: "_Replay", kind: str) -> bool:
        """Whether one of this type should have been read between the start of the replay and where it is now."""
        places = self._of_type[kind]
        return bisect_left(places, replay.reached) - bisect_right(places, replay.start) > replay.unreadable


class _Replay:
    """What one connection has given back so far."""

    def __init__(self, known: int, last_own: dict[str, int], adrift: int, hidden: int) -> None:
        self.known = known  # how many events with a certain place were known when it began
        self.adrift_left = adrift  # how many that could be read, without one and without an identity, have yet to come
        self.last_own = last_own  # and the last certain place of those with their own identity, by type
        self.start = _NOWHERE  # the place at which a cut replay began
        self.reached = _NOWHERE  # the furthest place of a known event that came
        self.ahead: list[int] = []  # places beyond that one, of events without an identity, that came
        self.new = 0  # how many new events with their own identity came after that one
        self.hidden = hidden  # and how many of them may be old ones, which could not be read at first
        self.unreadable = 0  # how many frames of this connection could not be read
        self.types: set[str] = set()  # types of which a known event with its own identity came
        self.given_back: set[str] = set()  # types of which a known event without one came
        self.taken: defaultdict[int, int] = defaultdict(int)
        self.adrift_taken: defaultdict[int, int] = defaultdict(int)
        self.adrift_since: defaultdict[int, int] = defaultdict(int)

    def pass_by(self, place: int) -> None:
        """The replay has come to this place at least."""
        self.reached = max(self.reached, place)
        self.ahead = [further for further in self.ahead if further > self.reached]

    @property
    def is_complete(self) -> bool:
        """Whether nothing that was known can still come: what does is at the end of the chat."""
        return self.reached + len(self.ahead) == self.known - 1

    @property
    def expects_more(self) -> bool:
        """Whether a known event with its own identity, of a type that this replay holds, has yet to come."""
        return any(self.last_own[kind] > self.reached for kind in self.types)

    @property
    def has_passed(self) -> bool:
        return self.new > self.hidden and not self.expects_more
