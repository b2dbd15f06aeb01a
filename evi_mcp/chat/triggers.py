"""Triggers: what an agent sleeps for when not every event is worth waking up.

Four kinds are met by an event, at the moment at which it is logged; two by the passing of time, which a clock measures.
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


class Clock(NamedTuple):
    """Something that has been going on since a time (Unix seconds), and how long it takes to matter.

    `tool_call_id`: the call that waits; `None` for a silence.
    """

    since: float
    seconds: float
    tool_call_id: str | None = None


class Trigger(BaseModel):
    """The base of all kinds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str

    @cached_property
    def looks_at(self) -> frozenset[str]:
        """The types of the events that can meet it, or that start a clock of it."""
        return frozenset()

    def met_by(self, event: Event, record: ChatRecord) -> bool:
        """Whether this event, the newest of the chat, meets it."""
        return False

    def met_after(self, record: ChatRecord, seq: int) -> int | None:
        """The `seq` of the first event after `seq` that meets it; `None` if none does."""
        return next((event.seq for event in record.log.after(seq) if self.met_by(event, record)), None)

    def clocks(self, record: ChatRecord) -> Iterator[Clock]:
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

    def met_by(self, event: Event, record: ChatRecord) -> bool:
        turn = record.turns.changed_by(event.seq)
        return turn is not None and turn.speaker == self.speaker and self.met_after(record, event.seq - 1) is not None

    def met_after(self, record: ChatRecord, seq: int) -> int | None:
        """As for all triggers, but for how the turns are now: a mean may have been higher while a turn went on."""
        streak: list[int] = []  # when each of the turns on end, newest first, was changed last
        met: list[int] = []
        for turn in record.turns.voiced(self.speaker):
            if turn.has_scores and turn.mean(_SCORES[self.score.strip().casefold()]) >= self.at_least:
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

    def clocks(self, record: ChatRecord) -> Iterator[Clock]:
        yield Clock(record.spoke_at, self.seconds)


class OnToolCallWaiting(Trigger):
    """A tool call of the chat has been waiting for an answer for so long."""

    kind: Literal["tool_call_waiting"]
    seconds: Seconds

    @cached_property
    def looks_at(self) -> frozenset[str]:
        return frozenset({"tool_call"})

    def clocks(self, record: ChatRecord) -> Iterator[Clock]:
        for call in record.tool_calls.pending():
            yield Clock(call.asked_at, self.seconds, call.tool_call_id)


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
    """The trigger that was met first after `seq`, and the event that met it. Looks at each event once."""
    voices = [trigger for trigger in triggers if isinstance(trigger, OnExpression)]
    met = [(trigger, trigger.met_after(record, seq)) for trigger in voices]
    found: list[tuple[Trigger, int]] = [(trigger, first) for trigger, first in met if first is not None]
    plain = [trigger for trigger in triggers if not isinstance(trigger, OnExpression)]
    for event in record.log.after(seq) if plain else ():
        trigger = next((trigger for trigger in plain if trigger.met_by(event, record)), None)
        if trigger is not None:
            found.append((trigger, event.seq))
            break
    return min(found, default=None, key=lambda pair: pair[1])


MAX_REMINDERS = 100
"""Clocks of one chat of which it is known that they woke somebody; the oldest is forgotten first."""


class Reminders:
    """When clocks wake an agent: when their time has come, then again after as long again, not on every call.

    Else an agent that waits on, because a silence does not matter to it after all, would be woken at once, for ever.
    What one agent was told, another was not; agents are told apart by name.
    """

    def __init__(self) -> None:
        self._told: OrderedDict[tuple[str, str | None, float], tuple[float, int]] = OrderedDict()

    def next_at(self, clock: Clock, agent: str) -> float:
        """When the clock wakes this agent next, in Unix seconds; perhaps in the past."""
        since, times = self._told.get((agent, clock.tool_call_id, clock.seconds), (clock.since, 0))
        return clock.since + clock.seconds * (times + 1 if since == clock.since else 1)

    def tell(self, clock: Clock, agent: str, now: float) -> None:
        """The clock has woken this agent."""
        key = agent, clock.tool_call_id, clock.seconds
        times = max(1, int((now - clock.since) / clock.seconds))
        if clock.since + clock.seconds * (times + 1) <= now:
            times += 1  # the division was rounded down across a whole number
        self._told[key] = clock.since, times
        self._told.move_to_end(key)
        if len(self._told) > MAX_REMINDERS:
            self._told.popitem(last=False)


@lru_cache(maxsize=4)  # several triggers look at the same event, one after the other
def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
