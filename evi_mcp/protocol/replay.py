"""Records what the replay of a connection has brought; `history.py` decides by it which messages are new."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from heapq import heappop, heappush

from evi_mcp.protocol.identity import INTERIM, Identity

GREETING = "chat_metadata"
"""It opens every connection, so it does not show how far the replay has come."""
UNREADABLE = "protocol_fault"
_TURN_END = "assistant_end"
MAIN = frozenset({"user_message", "assistant_message", "tool_call", "tool_response", "tool_error", _TURN_END})
"""The types that a replay holds if it holds anything of a conversation."""
_TALK = MAIN | {INTERIM, "assistant_prosody", "user_prosody", "audio_output", "user_interruption"}
ASIDE = frozenset({GREETING, INTERIM, "assistant_prosody", "user_prosody", "audio_output"})
"""Types that EVI does not promise to send in order with the others: they do not show how far the replay has come."""
NOWHERE = -1


class Replay:
    """What the replay of one connection has brought, and how far it has come.

    Places number the known events, from 0, in the order of the chat.

    Args:
        known: How many places there were when the replay began.
        own: The places of the events with their own identity, by type, in order.
        expected: Types of a conversation with such events, without the types that earlier replays left out.
        knows_talk: Whether something of the conversation was known.
        unread: How many known frames could not be read when they came: each may have been any event.
    """

    def __init__(
        self,
        known: int = 0,
        own: Mapping[str, list[int]] | None = None,
        expected: frozenset[str] = frozenset(),
        knows_talk: bool = False,
        unread: int = 0,
    ) -> None:
        self.known = known
        self._own = own or {}
        self._own_known = {kind: len(places) for kind, places in self._own.items()}
        self._expected = expected
        self.knows_talk = knows_talk
        self.unread = unread
        self.has_talk = False
        """Whether anything of the conversation has come, known or new."""
        self.is_at_rest = False
        """Whether the newest event of the conversation is the end of EVI's turn."""
        self.came_again = 0
        """How many known events came, `chat_metadata` aside."""
        self.reached: dict[str, int] = {}  # by type, the furthest place of an event with its own identity that came
        self._own_came: defaultdict[str, int] = defaultdict(int)  # and how many came
        self.furthest_own = NOWHERE  # the furthest place in `reached`
        self.new = 0  # new events with their own identity since `furthest_own`, of types that were known
        self.new_types: set[str] = set()  # the types of `new`
        # An anchor is an event of which there is only one, and which comes in order.
        self.start: int | None = None  # the first place of an anchor that came: a replay may begin late in the chat
        self.place = NOWHERE  # the place of the newest anchor
        self.furthest = NOWHERE  # the furthest place of an anchor
        self.ahead: list[int] = []  # a heap of the places beyond `furthest` whose events came too
        self.taken: dict[int, int] = {}  # by digest, the furthest place whose event came
        self.unplaced_taken: defaultdict[int, int] = defaultdict(int)  # by digest, how many without a place came
        self.unplaced_new: defaultdict[int, int] = defaultdict(int)  # by digest, how many of these are new
        self.held: set[str] = set()  # types of which a known event without an identity came
        self.judged_live: set[str] = set()  # types of which an event was judged live since `furthest_own`
        self.unreadable = 0  # how many new frames cannot be read

    @property
    def misses_known(self) -> bool:
        """Whether a known event with its own identity, of a type that this replay holds, has yet to come."""
        return any(self._own[kind][self._own_known[kind] - 1] > place for kind, place in self.reached.items())

    @property
    def lacks(self) -> frozenset[str]:
        """Expected types of which no event has come: the replay leaves them out, or has not reached them yet."""
        return self._expected - self.reached.keys()

    @property
    def is_complete(self) -> bool:
        """Whether no known event with a place can still come: then a new event belongs at the end."""
        return self.furthest + len(self.ahead) == self.known - 1 and self._skipped_own() <= self.unreadable

    def _skipped_own(self) -> int:
        """How many events with their own identity are missing, from where the replay began. If many are, an event that
        came was another one with a reused id, and its place shows nothing."""
        start = self.start or 0
        due = (self._own_known[kind] - bisect_left(self._own[kind], start) for kind in self.reached)
        came = (self._own_came[kind] for kind in self.reached)
        return sum(max(0, expected - there) for expected, there in zip(due, came, strict=True))

    @property
    def has_passed(self) -> bool:
        """Whether the replay has passed the last known event: more new events came than unreadable frames explain."""
        return self.new > self.unread and not self.misses_known

    def note(self, kind: str) -> None:
        """A message of this type came."""
        if kind in _TALK:
            self.has_talk = True
            if kind in MAIN:
                self.is_at_rest = kind == _TURN_END

    def saw_again(self, event: Identity, place: int, is_anchor: bool) -> None:
        """The known event of this place came."""
        self.taken[event.digest] = place
        if event.type != GREETING:
            self.came_again += 1
            if event.own:
                self._saw_own_again(event.type, place)
        if is_anchor:
            self.start = place if self.start is None else min(self.start, place)
            self.place = place
        if place <= self.furthest:
            return
        if not is_anchor:
            heappush(self.ahead, place)
            return
        self.furthest = place
        while self.ahead and self.ahead[0] <= place:
            heappop(self.ahead)

    def _saw_own_again(self, kind: str, place: int) -> None:
        if kind in self._own_known:
            self._own_came[kind] += 1
            self.reached[kind] = max(self.reached.get(kind, NOWHERE), place)
        if place > self.furthest_own:
            self.furthest_own, self.new = place, 0
            # The events judged live came in the middle of the replay: it does hold their types.
            self.held |= self.judged_live
            self.judged_live.clear()

    def saw_new(self, event: Identity, placed: bool) -> None:
        """An event came that was not known."""
        if event.type == UNREADABLE:
            self.unreadable += 1
        elif event.own and event.type in self._own_known and event.type not in ASIDE:
            # A new event of a type that has not come again shows nothing: an earlier replay may have left the type out.
            if self.start is None or event.type in self.reached:
                self.new += 1
                self.new_types.add(event.type)
        if not placed:
            self.unplaced_new[event.digest] += 1
