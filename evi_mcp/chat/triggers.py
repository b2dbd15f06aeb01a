"""Triggers: what an agent sleeps for when not every event is worth waking up.

Four kinds are met by an event, at the moment at which it is logged; two by the passing of time.
Nothing that comes from a chat changes a trigger: speech is only compared with what the agent gave.
`trigger_forms` reads them from what an agent writes.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from typing import Any, ClassVar, NamedTuple

from evi_mcp.chat.events import Event
from evi_mcp.chat.names import is_evis, is_evis_score
from evi_mcp.chat.record import ChatRecord
from evi_mcp.chat.turns import Turn

MAX_LATE_TURNS = 100
"""How many turns back a voice may still come late."""
TURNS_BEFORE = 5
"""With the mean of so many turns a voice is compared, to see whether a score has risen."""

CUTS_SHORT = frozenset({"user_interruption"})
_WORDS = {"user": "user_message", "assistant": "assistant_message"}
_VOICES = {
    "user": frozenset({"user_message", "user_prosody"}),
    "assistant": frozenset({"assistant_message", "assistant_prosody"}),
}


class Timer(NamedTuple):
    """Something that has been going on since a time (seconds of `Clock.elapsed`), and how long it takes to matter.

    `call`: the number of the tool call that waits; `None` for a silence.
    """

    since: float
    seconds: float
    call: int | None = None


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """The base of all kinds. `chat_id`: the only chat in which it is met; empty for any that the wait covers."""

    kind: ClassVar[str]
    chat_id: str = ""

    @cached_property
    def looks_at(self) -> frozenset[str]:
        """The types of the events that can meet it, or that start a timer of it."""
        return frozenset()

    def shown(self) -> dict[str, Any]:
        """It as an agent writes it, without what keeps its default."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        defaults = {field.name: field.default for field in fields(self)}
        told = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
        return {"kind": self.kind} | {name: value for name, value in told.items() if given[name] != defaults[name]}

    def met_by(self, event: Event, record: ChatRecord) -> bool:
        """Whether this event, the newest of the chat and no part of its past, meets it."""
        return self._is_about(record) and self._meets(event, record)

    def met_after(self, record: ChatRecord, seq: int) -> int | None:
        """The `seq` of the first event after `seq` that meets it; `None` if none does."""
        return next((event.seq for event in record.log.after(seq) if self.met_by(event, record)), None)

    def timers(self, record: ChatRecord) -> Iterator[Timer]:
        """What meets it by going on long enough; none for most kinds."""
        return self._timers(record) if self._is_about(record) else iter(())

    def _is_about(self, record: ChatRecord) -> bool:
        return self.chat_id in ("", record.chat_id)

    def _meets(self, event: Event, record: ChatRecord) -> bool:
        return False

    def _timers(self, record: ChatRecord) -> Iterator[Timer]:
        return iter(())


@dataclass(frozen=True, kw_only=True)
class OnEvent(Trigger):
    """There is an event of one of these types; with `speaker`, of that side."""

    kind = "event"
    types: tuple[str, ...]
    speaker: str = ""

    @cached_property
    def looks_at(self) -> frozenset[str]:
        return frozenset(self.types)

    def _meets(self, event: Event, record: ChatRecord) -> bool:
        return event.type in self.looks_at and not event.interim and self.speaker in ("", event.speaker)


@dataclass(frozen=True, kw_only=True)
class OnExpression(Trigger):
    """In each of the last `turns` turns of the speaker the score is `at_least`, and `at_most`, so high, and has risen
    by `rise` (fallen, if that is negative) against the mean of the five turns before; a turn counts with its mean."""

    kind = "expression"
    score: str
    at_least: float | None = None
    at_most: float | None = None
    rise: float | None = None
    turns: int = 1
    speaker: str = "user"

    @cached_property
    def looks_at(self) -> frozenset[str]:
        return _VOICES[self.speaker]

    def is_hopeless(self, record: ChatRecord) -> bool:
        """Whether nothing says that it can be met: EVI has no such score or the chat is not EVI's, and the chat has
        never given one."""
        if not self._is_about(record):
            return True
        if record.catching_up or (is_evis(record) and is_evis_score(self.score)):
            return False
        return record.turns.score_name(self.speaker, self.score) is None

    def _meets(self, event: Event, record: ChatRecord) -> bool:
        turn = record.turns.changed_by(event.seq)
        return turn is not None and turn.speaker == self.speaker and self.met_after(record, event.seq - 1) is not None

    def met_after(self, record: ChatRecord, seq: int) -> int | None:
        """As for all triggers, but for how the turns are now: a mean may have been higher while a turn went on."""
        name = record.turns.score_name(self.speaker, self.score)
        if name is None or not self._is_about(record):
            return None
        turns = self._turns_since(record, seq)
        met: list[int] = []
        for newest in range(len(turns) - self.turns + 1):
            last = turns[newest : newest + self.turns]
            changed = max(turn.changed_seq for turn in last)
            if changed > seq and self._holds(
                name, last, turns[newest + self.turns : newest + self.turns + TURNS_BEFORE]
            ):
                met.append(changed)
        return min(met, default=None)

    def _turns_since(self, record: ChatRecord, seq: int) -> list[Turn]:
        """The turns that may have changed after `seq`, newest first, and those before with which they are compared."""
        turns, unchanged = list[Turn](), 0
        for turn in record.turns.voiced(self.speaker):
            turns.append(turn)
            if turn.changed_seq <= seq and turn.number + MAX_LATE_TURNS < record.turns.count:
                unchanged += 1
                if unchanged >= self.turns + TURNS_BEFORE:
                    break
        return turns

    def _holds(self, name: str, last: Sequence[Turn], before: Sequence[Turn]) -> bool:
        """Whether the score is as is asked for in all of the last turns; a voice that may still come is none yet."""
        if not all(turn.has_scores for turn in last):
            return False
        means = [turn.mean(name) for turn in last]
        if self.at_least is not None and min(means) < self.at_least:
            return False
        if self.at_most is not None and max(means) > self.at_most:
            return False
        if self.rise is None:
            return True
        compared = [turn.mean(name) for turn in before if turn.has_scores]
        if not compared:
            return False
        usual = sum(compared) / len(compared)
        # Rounded: 0.7 - 0.5 is less than 0.2 in binary.
        return all(round((mean - usual) * (1 if self.rise > 0 else -1), 6) >= abs(self.rise) for mean in means)


@dataclass(frozen=True, kw_only=True)
class OnText(Trigger):
    """Somebody says these words: a part of one final message, in any case; with `speaker`, that side."""

    kind = "text"
    contains: str
    speaker: str = ""

    @cached_property
    def looks_at(self) -> frozenset[str]:
        return frozenset(name for speaker, name in _WORDS.items() if self.speaker in ("", speaker))

    def _meets(self, event: Event, record: ChatRecord) -> bool:
        if event.type not in self.looks_at or event.interim or not event.text:
            return False
        return self._looked_for in _plain(event.text)

    @cached_property
    def _looked_for(self) -> str:
        return _plain(self.contains)


@dataclass(frozen=True, kw_only=True)
class OnSilence(Trigger):
    """Neither side has said anything for so many seconds, interim transcripts and audio included."""

    kind = "silence"
    seconds: float

    @cached_property
    def looks_at(self) -> frozenset[str]:
        return CUTS_SHORT  # it takes back what would have been heard: the silence began sooner than was foreseen

    def _timers(self, record: ChatRecord) -> Iterator[Timer]:
        yield Timer(record.spoke_at, self.seconds)


@dataclass(frozen=True, kw_only=True)
class OnToolCallWaiting(Trigger):
    """A tool call that needs an answer has been waiting for so many seconds; EVI's own tools need none."""

    kind = "tool_call_waiting"
    seconds: float

    @cached_property
    def looks_at(self) -> frozenset[str]:
        return frozenset({"tool_call"})

    def _timers(self, record: ChatRecord) -> Iterator[Timer]:
        for call in record.tool_calls.pending():
            yield Timer(call.asked_at, self.seconds, call.number)


@dataclass(frozen=True, kw_only=True)
class OnTurnEnd(Trigger):
    """EVI has finished its turn, or the user has cut it short."""

    kind = "turn_end"

    @cached_property
    def looks_at(self) -> frozenset[str]:
        return CUTS_SHORT | {"assistant_end"}

    def _meets(self, event: Event, record: ChatRecord) -> bool:
        return event.type in self.looks_at


def first_met(triggers: Sequence[Trigger], record: ChatRecord, seq: int) -> tuple[Trigger, int] | None:
    """The trigger that was met first after `seq`, and the event that met it. Looks at each event once.

    Only news count (`ChatRecord.is_news`): what was said before the chat was attached wakes nobody.
    """
    found: list[tuple[Trigger, int]] = []
    if not record.catching_up and record.history_seq is not None:
        heard = max(seq, record.history_seq)
        voices = [trigger for trigger in triggers if isinstance(trigger, OnExpression)]
        met = [(trigger, trigger.met_after(record, heard)) for trigger in voices]
        found = [(trigger, first) for trigger, first in met if first is not None]
    plain = [trigger for trigger in triggers if not isinstance(trigger, OnExpression)]
    for event in record.log.after(seq) if plain else ():
        trigger = next((trigger for trigger in plain if trigger.met_by(event, record)), None)
        if trigger is not None and record.is_news(event):
            found.append((trigger, event.seq))
            break
    return min(found, default=None, key=lambda pair: pair[1])


MAX_REMINDERS = 1000
"""Timers of one chat of which it is known that they woke somebody; the oldest is forgotten first."""


class _Told(NamedTuple):
    """What one caller was told of one timer: the last time, by the number of the page that told it, and before."""

    since: float
    times: int
    page: int
    times_before: int


class Reminders:
    """When timers wake a caller: when their time has come, then again after as long again, not on every call.

    Else an agent that waits on, because a silence does not matter to it after all, would be woken at once, for ever.
    What one caller was told, another was not. A reminder counts once its page was received, which a later cursor shows:
    a client that has timed out, and asks again from where it stood, is told again.
    """

    def __init__(self) -> None:
        self._told: OrderedDict[tuple[str, int | None, float], _Told] = OrderedDict()

    def next_at(self, timer: Timer, caller: str, read_to: int) -> float:
        """When the timer wakes this caller next, in seconds of `Clock.elapsed`; perhaps in the past.

        Args:
            caller: By id.
            read_to: The number up to which the caller has read.
        """
        told = self._told.get((caller, timer.call, timer.seconds))
        if told is None or told.since != timer.since:
            return timer.since + timer.seconds
        times = told.times if read_to >= told.page else told.times_before
        return timer.since + timer.seconds * (times + 1)

    def tell(self, timer: Timer, caller: str, elapsed: float, *, read_to: int, page: int) -> None:
        """The timer has woken this caller.

        Args:
            read_to: As for `next_at`.
            page: The number with which the cursor of its page will show that it was received.
        """
        key = caller, timer.call, timer.seconds
        times = max(1, int((elapsed - timer.since) / timer.seconds))
        if timer.since + timer.seconds * (times + 1) <= elapsed:
            times += 1  # the division was rounded down across a whole number
        told, before = self._told.get(key), 0
        if told is not None and told.since == timer.since:
            before = told.times if read_to >= told.page else told.times_before
        self._told[key] = _Told(timer.since, times, page, before)
        self._told.move_to_end(key)
        if len(self._told) > MAX_REMINDERS:
            self._told.popitem(last=False)

    def take_back(self, timer: Timer, caller: str, page: int) -> None:
        """What `tell` said of this page: it was never received."""
        key = caller, timer.call, timer.seconds
        told = self._told.get(key)
        if told is not None and told.page == page:
            self._told[key] = told._replace(times=told.times_before)


@lru_cache(maxsize=4)  # several triggers look at the same event, one after the other
def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
