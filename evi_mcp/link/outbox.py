"""What goes to the hub: numbered, bounded, kept until it is acknowledged. No sockets, no clock, no awaiting.

A message waits without a number until it is first written, so that one which has to be dropped leaves no hole in the
numbers. Once written it is kept until the hub acknowledges it, and written again after a `resume`. What was
acknowledged is kept as well, without audio and as long as there is room: a hub that was restarted gets the whole chat.

Room is one budget. When it is full, these go first: the acknowledged past, then waiting audio and interim transcripts,
then the oldest that waits. What the hub never gets is counted, and said by a message in its place.
"""

import json
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass

MAX_MESSAGES = 10_000
MAX_BYTES = 16 * 1024 * 1024
LATELY = 1000
"""Messages of the past whose loss is remembered one by one, for a hub that has lost a little."""
DROPPED = "messages_dropped"
"""The type of the message that says what was dropped: `counts` by type."""


@dataclass(frozen=True, slots=True)
class Held:
    """One message, as the UTF-8 of its JSON. `expendable`: audio and interim transcripts, dropped before others.

    `stands_for`: what it says was dropped, if it is such a message.
    """

    type: str
    payload: bytes
    expendable: bool = False
    stands_for: Counter[str] | None = None

    def count(self) -> Counter[str]:
        """What is missing if this one is dropped."""
        return self.stands_for or Counter({self.type: 1})


class Outbox:
    """The messages of one chat on their way to a hub.

    Args:
        max_messages, max_bytes: The budget for all that is kept. Half of it may be written and not acknowledged.
    """

    def __init__(self, max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._past: deque[tuple[int, Held]] = deque()
        self._past_dropped: Counter[str] = Counter()
        self._lately_dropped: deque[tuple[int, Counter[str]]] = deque(maxlen=LATELY)
        self._acknowledged = 0
        self._written: deque[Held] = deque()
        self._again: deque[Held] = deque()
        self._waiting: OrderedDict[int, Held] = OrderedDict()
        self._expendable: deque[int] = deque()
        self._keys = 0
        self._dropped: Counter[str] = Counter()
        self._dropped_in_all = 0
        self._bytes = 0
        self._open_bytes = 0

    @property
    def sent(self) -> int:
        """The highest number that was ever written; 0 if none was."""
        return self._acknowledged + len(self._written) + len(self._again)

    @property
    def dropped(self) -> int:
        """How many messages the hub never gets."""
        return self._dropped_in_all

    @property
    def open(self) -> int:
        """How many messages the hub has not acknowledged, waiting ones included."""
        return len(self._written) + len(self._again) + len(self._waiting) + bool(self._dropped)

    @property
    def all_written(self) -> bool:
        """Whether nothing is left to write on this connection."""
        return not (self._again or self._waiting or self._dropped)

    @property
    def behind(self) -> bool:
        """Whether something that was written before is to be written again."""
        return bool(self._again)

    @property
    def unanswered(self) -> bool:
        """Whether something was written on this connection and is not acknowledged."""
        return bool(self._written)

    def put(self, held: Held) -> None:
        """Takes a message; drops others, or this one, where there is no room."""
        self._keys += 1
        self._waiting[self._keys] = held
        if held.expendable:
            self._expendable.append(self._keys)
        self._bytes += len(held.payload)
        while self._full() and self._make_room():
            pass

    def next_frame(self) -> bytes | None:
        """The next frame to write on this connection; `None` if there is none, or too much is unacknowledged."""
        if not self._again and not self._admit():
            return None
        held = self._again.popleft()
        self._written.append(held)
        return b'{"n": %d, "message": %b}' % (self._acknowledged + len(self._written), held.payload)

    def acknowledge(self, n: int) -> None:
        """The hub has everything up to `n`. Numbers that were not written yet, or are known, change nothing."""
        if n <= self._acknowledged + len(self._written):
            while self._acknowledged < n:
                self._forget(self._written.popleft())

    def connected(self, received: int, *, same_chat: bool) -> None:
        """A hub answered with `welcome`: the next frames are those that it has not got.

        Args:
            received: The number that the hub has everything up to.
            same_chat: Whether it knows this link. If not, it gets all that is held, numbered anew. One that knows it
                may still have lost some of what it acknowledged.
        """
        self._again = self._written + self._again
        self._written = deque()
        if same_chat:
            while self._again and self._acknowledged < received:
                self._forget(self._again.popleft())
            self._take_back(after=received)
            lost: Counter[str] = Counter()
            while self._lately_dropped and self._lately_dropped[-1][0] > received:
                lost += self._lately_dropped.pop()[1]
        else:
            self._take_back(after=0)
            self._lately_dropped.clear()
            lost = self._past_dropped
        self._past_dropped = self._past_dropped - lost
        self._say_first(lost)
        self._acknowledged = received

    def _say_first(self, lost: Counter[str]) -> None:
        """What can no longer be told is said before everything else."""
        self._dropped_in_all += lost.total()
        if lost.total():
            self._dropped += lost
            if self._again and (said := self._again[0].stands_for) is not None:
                self._dropped += said  # one message says it all
                self._release(self._again.popleft())
            self._again.appendleft(self._note())

    def _take_back(self, *, after: int) -> None:
        """What was acknowledged under higher numbers than this is to be written again."""
        while self._past and self._past[-1][0] > after:
            _, held = self._past.pop()
            self._open_bytes += len(held.payload)
            self._again.appendleft(held)

    def discard(self) -> None:
        """Nobody will ever get what is held."""
        for kept in (self._past, self._written, self._again, self._waiting, self._expendable, self._dropped):
            kept.clear()
        self._bytes = self._open_bytes = 0

    def _forget(self, held: Held) -> None:
        self._acknowledged += 1
        if held.expendable:
            self._release(held)
        else:
            self._open_bytes -= len(held.payload)
            self._past.append((self._acknowledged, held))

    def _release(self, held: Held) -> None:
        self._open_bytes -= len(held.payload)
        self._bytes -= len(held.payload)

    def _admit(self) -> bool:
        """Gives the next message that waits its place among those with a number."""
        if 2 * len(self._written) >= self._max_messages or 2 * self._open_bytes >= self._max_bytes:
            return False
        if self._dropped:
            self._again.append(self._note())
        elif self._waiting:
            _, held = self._waiting.popitem(last=False)
            if held.expendable:
                self._expendable.popleft()  # both are in order, so it stands first here too
            self._open_bytes += len(held.payload)
            self._again.append(held)
        return bool(self._again)

    def _note(self) -> Held:
        counts = ", ".join(f"{count} {type_}" for type_, count in self._dropped.most_common())
        note = {
            "type": DROPPED,
            "counts": dict(self._dropped),
            "reason": "the link's queue was full",
            "message": f"The link to the hub could not keep up, and these are missing here: {counts}.",
        }
        held = Held(DROPPED, json.dumps(note).encode(), stands_for=self._dropped)
        self._dropped = Counter()
        self._bytes += len(held.payload)
        self._open_bytes += len(held.payload)
        return held

    def _full(self) -> bool:
        count = len(self._past) + len(self._written) + len(self._again) + len(self._waiting)
        return count > self._max_messages or self._bytes > self._max_bytes

    def _make_room(self) -> bool:
        if self._past:
            n, held = self._past.popleft()
            self._past_dropped += held.count()
            self._lately_dropped.append((n, held.count()))
            self._bytes -= len(held.payload)
            return True
        if not self._waiting:
            return False
        if self._expendable:
            held = self._waiting.pop(self._expendable.popleft())
        else:
            _, held = self._waiting.popitem(last=False)
        self._dropped[held.type] += 1
        self._dropped_in_all += 1
        self._bytes -= len(held.payload)
        return True
