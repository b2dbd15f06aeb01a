"""Which received messages are new: EVI replays the chat on every connection and marks no boundary.

`History` is asked once for every message, in the order of arrival, and is told when a connection was made, when its
replay has ended (`catching_up` works that out) and when it was lost. Outside a replay every message is new. In a replay
it decides by two rules; `docs/replay.md` says why, and where their limits are.

1. An event with an identity of its own is known if the chat has had it more often than this replay has brought it so
   far: an id that the service uses twice names two events.
2. An event without one is known if the chat has had an equal event after the last event of rule 1 that came again. It
   is new if the replay leaves its type out, or has passed all known events.

If the frames can be read in two ways, the rules rather log an event twice than lose it.
Memory: 64 bits and a place for each event, for the life of the chat, which EVI limits to 30 minutes.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from typing import Self

from evi_mcp.protocol.entries import Entry
from evi_mcp.protocol.identity import INTERIM, Identity
from evi_mcp.protocol.replay import ASIDE, GREETING, MAIN, NOWHERE, UNREADABLE, Replay

_UNEXPECTED = frozenset({GREETING, INTERIM})
"""Types whose newest event a replay may lack: a connection lost in mid-sentence leaves an interim transcript behind."""


class History:
    """The identities of all events of one chat; the module's docstring gives the rules."""

    def __init__(self) -> None:
        self._length = 0  # how many events there are
        self._places = 0  # how many of them have a place
        self._first: dict[int, int] = {}  # by digest, the first place
        self._all: dict[int, list[int]] = {}  # by digest, all places, if there are several
        self._unplaced: defaultdict[int, int] = defaultdict(int)  # by digest, how many have no place
        self._own: defaultdict[str, list[int]] = defaultdict(list)  # by type, the places of those with an identity
        self._alike: defaultdict[str, list[int]] = defaultdict(list)  # by type, the places of the others
        self._left_out: frozenset[str] = frozenset()  # types that this service does not replay
        self._knows_talk = False
        self._unread = 0
        self._newest = Identity("", 0, False), False
        self._replaying = self._caught_up = False
        self.replay = Replay()
        """What the newest connection has brought."""

    def __len__(self) -> int:
        return self._length

    @classmethod
    def restore(cls, entries: Iterable[Entry]) -> Self:
        """The history of the events of these entries, in this order; it has no connection yet."""
        history = cls()
        for entry in entries:
            history._take_in(Identity(entry.type, entry.digest, entry.own), entry.placed)
        return history

    @property
    def newest(self) -> Entry:
        """The entry of the event that was taken in last, to be stored together with it."""
        identity, placed = self._newest
        return Entry(*identity, placed)

    @property
    def replaying(self) -> bool:
        """Whether what arrives may still be the replay."""
        return self._replaying

    @property
    def catching_up(self) -> bool:
        """Whether something may have been said that has not arrived: a replay runs, or there is no connection."""
        return not self._caught_up

    def begin_replay(self) -> None:
        """A connection was made: what comes next is the history, perhaps with live events in it."""
        expected = self._own.keys() & MAIN - self._left_out
        self.replay = Replay(self._places, self._own, frozenset(expected), self._knows_talk, self._unread)
        self._replaying, self._caught_up = True, False

    def end_replay(self) -> None:
        """The replay has ended: what comes from here on is live. Calling it again does nothing."""
        if self._replaying and self.replay.came_again:
            self._left_out = (self._left_out | self.replay.lacks) - self.replay.reached.keys()
        self._replaying, self._caught_up = False, True

    def lose_connection(self) -> None:
        """The connection was lost: what is said from here on does not arrive."""
        self._replaying = self._caught_up = False

    def is_new(self, event: Identity) -> bool:
        """Whether this message is an event that was not received before; it is known from now on."""
        replay = self.replay
        if not self._replaying:
            # What could not be read takes no place: if it was damaged on its way, it never comes again.
            self._take_in(event, event.type != UNREADABLE)
            return True
        replay.note(event.type)
        if self._came_again(replay, event):
            return False
        placed = replay.is_complete and event.type != UNREADABLE
        replay.saw_new(event, placed)
        self._take_in(event, placed)
        return True

    def _take_in(self, event: Identity, placed: bool) -> None:
        kind, digest, own = event
        self._length += 1
        self._newest = event, placed
        if not self._knows_talk:
            self._knows_talk = kind in MAIN
        if not placed:
            self._unplaced[digest] += 1
            self._unread += kind == UNREADABLE
            return
        place = self._places
        self._places += 1
        if not own:
            self._alike[kind].append(place)
        elif kind not in _UNEXPECTED:
            self._own[kind].append(place)
        first = self._first.setdefault(digest, place)
        if first != place:
            self._all.setdefault(digest, [first]).append(place)

    def _came_again(self, replay: Replay, event: Identity) -> bool:
        if event.type == GREETING:
            return self._greets_again(replay, event)
        place = self._next_place(replay, event)
        if place is None and not self._unplaced_left(replay, event.digest):
            return False
        if not event.own and self._is_live(replay, event.type, place):
            replay.judged_live.add(event.type)
            return False
        if place is not None:
            replay.saw_again(event, place, self._is_anchor(event))
        else:
            replay.unplaced_taken[event.digest] += 1
            replay.came_again += 1
        if not event.own:
            replay.held.add(event.type)
        if event.type == UNREADABLE:
            replay.unread -= 1  # it came again in the same form, so it hides no other event
        return True

    def _is_anchor(self, event: Identity) -> bool:
        """Whether this event is the only one of its digest, and of a type that comes in order."""
        is_single = event.digest not in self._all and event.digest not in self._unplaced
        return event.own and event.type not in ASIDE and is_single

    def _greets_again(self, replay: Replay, event: Identity) -> bool:
        """Whether this greeting is known. A connection's greeting and the first event of the history are one event."""
        place = self._first.get(event.digest)
        if place is not None and place < replay.known and event.digest not in replay.taken:
            replay.saw_again(event, place, is_anchor=False)
        return place is not None or event.digest in self._unplaced

    def _next_place(self, replay: Replay, event: Identity) -> int | None:
        """The next place of a known event equal to this one; `None` if none is left."""
        digest = event.digest
        taken = replay.taken.get(digest, NOWHERE)
        places = self._all.get(digest)
        if places is None:
            place = self._first.get(digest, NOWHERE)
            fits = place > taken and (event.own or place > replay.place)
            return place if fits and place < replay.known else None
        index = bisect_right(places, max(taken, replay.place))
        return places[index] if index < len(places) and places[index] < replay.known else None

    def _unplaced_left(self, replay: Replay, digest: int) -> bool:
        """Whether a known event with this digest and without a place has yet to come again."""
        known = self._unplaced.get(digest, 0) - replay.unplaced_new.get(digest, 0)
        return replay.unplaced_taken.get(digest, 0) < known

    def _is_live(self, replay: Replay, kind: str, place: int | None) -> bool:
        """Whether an event without an identity is live, although it equals the known one at this place (`None`: a known
        one without a place): the replay leaves its type out, or has passed the place."""
        if kind not in replay.held and replay.start is not None and self._is_left_out(replay, kind, replay.start):
            return True
        if place is None:
            return False
        if replay.start is None:
            return replay.new > replay.unread and any(self._own[kind][0] < place for kind in replay.new_types)
        return replay.has_passed and (kind not in replay.held or replay.unreadable > 0)

    def _is_left_out(self, replay: Replay, kind: str, start: int) -> bool:
        """Whether more events of this type are missing by now than unreadable frames can explain."""
        places = self._alike.get(kind, [])
        return bisect_right(places, replay.place) - bisect_right(places, start) > replay.unreadable
