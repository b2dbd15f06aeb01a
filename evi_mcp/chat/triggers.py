"""Triggers: what an agent sleeps for when not every event is worth waking up.

Four kinds are met by an event, at the moment at which it is logged; two by the passing of time.
Nothing that comes from a chat changes a trigger: speech is only compared with what the agent gave.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from evi_mcp.chat.events import Event
from evi_mcp.chat.record import ChatRecord
from evi_mcp.protocol.prosody import SCORE_NAMES

MAX_LATE_TURNS = 100
"""How many turns back a voice may still come late."""

_SCORES = {name.casefold(): name for name in SCORE_NAMES}

CUTS_SHORT = frozenset({"user_interruption"})
_WORDS = {"user": "user_message", "assistant": "assistant_message"}
_VOICES = {"user": frozenset({"user_message"}), "assistant": frozenset({"assistant_message", "assistant_prosody"})}

Seconds = Annotated[float, Field(ge=0.1, le=3600, description="For how long.")]
Speaker = Literal["user", "assistant"]


class Timer(NamedTuple):
    """Something that has been going on since a time (seconds of `Clock.elapsed`), and how long it takes to matter.

    `call`: the number of the tool call that waits; `None` for a silence.
    """

    since: float
    seconds: float
    call: int | None = None


class Trigger(BaseModel):
    """The base of all kinds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str

    @cached_property
    def looks_at(self) -> frozenset[str]:
        """The types of the events that can meet it, or that start a timer of it."""
        return frozenset()

    def met_by(self, event: Event, record: ChatRecord) -> bool:
        """Whether this event, the newest of the chat and no part of its past, meets it."""
        return False

    def met_after(self, record: ChatRecord, seq: int) -> int | None:
        """The `seq` of the first event after `seq` that meets it; `None` if none does."""
        return next((event.seq for event in record.log.after(seq) if self.met_by(event, record)), None)

    def timers(self, record: ChatRecord) -> Iterator[Timer]:
        """What meets it by going on long enough; none for most kinds."""
        return iter(())


class OnEvent(Trigger):
    """An event of one of these types."""

    kind: Literal["event"]
    types: Annotated[tuple[str, ...], Field(min_length=1, max_length=50, description="Event types, as in `types`.")]

    @cached_property
    def looks_at(self) -> frozenset[str]:
        return frozenset(self.types)

    def met_by(self, event: Event, record: ChatRecord) -> bool:
        return event.type in self.looks_at and not event.interim


class OnExpression(Trigger):
    """A score is at least so high in each of the last `turns` turns of the speaker; a turn counts with its mean."""

    kind: Literal["expression"]
    score: Annotated[str, Field(description="One of EVI's 48 expressions, such as Anger.")]
    at_least: Annotated[float, Field(ge=-1, le=1, description="Mostly 0 to 1; 0.5 is strong.")]
    turns: Annotated[int, Field(ge=1, le=20, description="In so many turns on end.")] = 1
    speaker: Speaker = "user"

    @field_validator("score")
    @classmethod
    def _one_of_the_48(cls, value: str) -> str:
        if value.strip().casefold() not in _SCORES:
            raise ValueError(f"there is no such expression; there are {', '.join(SCORE_NAMES)}")
        return value

    @cached_property
    def looks_at(self) -> frozenset[str]:
        return _VOICES[self.speaker]

    def is_hopeless(self, record: ChatRecord) -> bool:
        """Whether nothing says that it can be met: the chat is not EVI's, and has never given such a score."""
        if record.source is None or record.catching_up:
            return False
        return record.turns.score_name(self.speaker, self.score) is None

    def met_by(self, event: Event, record: ChatRecord) -> bool:
        turn = record.turns.changed_by(event.seq)
        return turn is not None and turn.speaker == self.speaker and self.met_after(record, event.seq - 1) is not None

    def met_after(self, record: ChatRecord, seq: int) -> int | None:
        """As for all triggers, but for how the turns are now: a mean may have been higher while a turn went on."""
        streak: list[int] = []  # when each of the turns on end, newest first, was changed last
        met: list[int] = []
        name = record.turns.score_name(self.speaker, self.score)
        if name is None:
            name = _SCORES[self.score.strip().casefold()]  # one that counts as 0 throughout
        for turn in record.turns.voiced(self.speaker):
            if turn.has_scores and turn.mean(name) >= self.at_least:
                streak.append(turn.changed_seq)
            else:
                streak = []
            changed = max(streak[-self.turns :], default=0)
            if len(streak) >= self.turns and changed > seq:
                met.append(changed)
            if not streak and turn.changed_seq <= seq and turn.number + MAX_LATE_TURNS < record.turns.count:
                break
        return min(met, default=None)


class OnText(Trigger):
    """Somebody says these words: a part of one final message, in any case."""

    kind: Literal["text"]
    contains: Annotated[str, Field(pattern=r"\S", max_length=1000, description="Words to look for, in any case.")]
    speaker: Annotated[Speaker | None, Field(description="Whose; omit for both.")] = None

    @cached_property
    def looks_at(self) -> frozenset[str]:
        return frozenset(name for speaker, name in _WORDS.items() if self.speaker in (None, speaker))

    def met_by(self, event: Event, record: ChatRecord) -> bool:
        if event.type not in self.looks_at or event.interim or not event.text:
            return False
        return self._looked_for in _plain(event.text)

    @cached_property
    def _looked_for(self) -> str:
        return _plain(self.contains)


class OnSilence(Trigger):
    """Neither side has said anything for so long, interim transcripts and audio included."""

    kind: Literal["silence"]
    seconds: Seconds

    @cached_property
    def looks_at(self) -> frozenset[str]:
        return CUTS_SHORT  # it takes back what would have been heard: the silence began sooner than was foreseen

    def timers(self, record: ChatRecord) -> Iterator[Timer]:
        yield Timer(record.spoke_at, self.seconds)


class OnToolCallWaiting(Trigger):
    """A tool call of the chat has been waiting for an answer for so long."""

    kind: Literal["tool_call_waiting"]
    seconds: Seconds

    @cached_property
    def looks_at(self) -> frozenset[str]:
        return frozenset({"tool_call"})

    def timers(self, record: ChatRecord) -> Iterator[Timer]:
        for call in record.tool_calls.pending():
            yield Timer(call.asked_at, self.seconds, call.number)


class OnTurnEnd(Trigger):
    """EVI has finished its turn, or the user has cut it short."""

    kind: Literal["turn_end"]

    @cached_property
    def looks_at(self) -> frozenset[str]:
        return CUTS_SHORT | {"assistant_end"}

    def met_by(self, event: Event, record: ChatRecord) -> bool:
        return event.type in self.looks_at


AnyTrigger = Annotated[
    OnEvent | OnExpression | OnText | OnSilence | OnToolCallWaiting | OnTurnEnd, Field(discriminator="kind")
]


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
