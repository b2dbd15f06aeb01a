"""Scripted calls as data. The scripts are `scenarios/*.json`; this is what may stand in them.

A script is a series of exchanges: what the user says, and how EVI replies. A reply is kept together with the
words it answers, since a pause may silence EVI while the user goes on: after it, EVI answers to the last words.
Whispers and a temper make it react to a supervisor. All durations are seconds at speed 1. docs/simulator.md shows
how to write one.
"""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag

from evi_mcp.protocol.prosody import SCORE_NAMES

CALM, ANGRY = -0.3, 0.3
"""From which temper on the user says what a line has for it."""


def _known_scores(expression: Mapping[str, float]) -> Mapping[str, float]:
    if unknown := expression.keys() - set(SCORE_NAMES):
        raise ValueError(f"no such expression: {', '.join(sorted(unknown))}")
    return expression


Seconds = Annotated[float, Field(ge=0)]
Line = Annotated[str, Field(pattern=r"\S")]
Lines = Annotated[tuple[Line, ...], Field(min_length=1)]
Expression = Annotated[Mapping[str, Annotated[float, Field(ge=0, le=1)]], AfterValidator(_known_scores)]


Change = Annotated[float, Field(ge=-1, le=1)]
Weights = Annotated[Mapping[str, Change], AfterValidator(_known_scores)]


class Part(BaseModel):
    """The base of everything in a script: immutable, and a misspelt name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Say(Part):
    """EVI says this, an `assistant_message` for each line. `quick` marks a short first reply (EVI 3)."""

    says: Lines
    expression: Expression = Field(default_factory=dict)
    quick: bool = False


class CallFunction(Part):
    """EVI asks its clients for a function and uses the answer.

    `then` is spoken if the answer is a JSON object with every `{field}` that the lines name; `otherwise` if it is
    anything else, which `{content}` repeats. `fallback` is spoken if nobody answers, or the tool failed and the
    `tool_error` says nothing for EVI.
    """

    calls: str
    parameters: Mapping[str, JsonValue] = Field(default_factory=dict)
    then: Lines
    otherwise: Lines
    fallback: Lines
    expression: Expression = Field(default_factory=dict)


class SearchWeb(Part):
    """EVI uses its built-in `web_search`; the `tool_response` comes from the server itself, `after_s` later."""

    searches: str
    finds: Mapping[str, JsonValue]
    after_s: Seconds = 1.5


def _kind_of_step(step: object) -> str | None:
    if isinstance(step, Part):
        return type(step).__name__
    named = {"says": "Say", "calls": "CallFunction", "searches": "SearchWeb"}
    return next((kind for field, kind in named.items() if isinstance(step, dict) and field in step), None)


Step = Annotated[
    Annotated[Say, Tag("Say")] | Annotated[CallFunction, Tag("CallFunction")] | Annotated[SearchWeb, Tag("SearchWeb")],
    Discriminator(_kind_of_step),
]
Reply = tuple[Step, ...]


class UserLine(Part):
    """What the user says, `after_s` of silence after EVI has finished.

    `when_calm` and `when_angry` are said instead at a temper of `CALM` and less, of `ANGRY` and more; `None` leaves it
    at `says`. `cuts_in_after_s` is set instead of waiting for EVI: how long EVI has been speaking when the user
    interrupts.
    """

    says: Line
    when_calm: Line | None = None
    when_angry: Line | None = None
    expression: Expression
    after_s: Seconds = 1.0
    cuts_in_after_s: Seconds | None = None


class Exchange(Part):
    """The user's words and EVI's reply to them."""

    user: UserLine
    evi: Annotated[Reply, Field(min_length=1)]


class Whisper(Part):
    """What EVI makes of a supervisor's context. It is used once, in place of the reply of the script.

    A context is this whisper if one of its clauses has one of `mentions`, and none of `but_not`: words, or a few in a
    row, whatever their case; a `*` at the end stands for any ending. It may come early: EVI remembers it until the
    exchange number `from_exchange` (1 is the first). The user's temper then changes by `temper`, and `then` takes the
    place of the exchanges that are left; `None` leaves them.
    """

    mentions: Lines
    but_not: tuple[Line, ...] = ()
    from_exchange: Annotated[int, Field(ge=1)] = 1
    evi: Annotated[Reply, Field(min_length=1)]
    temper: Change = 0.0
    then: tuple[Exchange, ...] | None = None


class Temper(Part):
    """What moves the user beyond the script, and how it shows.

    A temper of 0 is the script as it stands, 1 as angry as can be, -1 as calm. `shows` is how far a temper of 1 draws
    each score towards 1 (or towards 0, if it is less than 0). The other numbers are changes of the temper:

    - `per_second_of_silence`: for each second that the user waits for a voice, beyond `patience_s`; while EVI waits for
      a function, beyond `tool_patience_s`, in real seconds, since whoever answers has no less time at a higher speed;
    - `tool_unanswered`: a function that nobody answered in time;
    - `barge_in`: a supervisor's line while EVI is paused; each further one counts half of the one before;
    - `line_into_silence`: a supervisor's line while EVI is not paused and says nothing; likewise;
    - `line_over_evi`: a supervisor's line over EVI's own words, which is two voices at once.

    `impatient` are the words of which the user says one first, after a silence that was too long.
    """

    shows: Weights = Field(default_factory=lambda: {"Anger": 0.8, "Contempt": 0.4, "Calmness": -0.5})
    patience_s: Seconds = 4.0
    tool_patience_s: Seconds = 10.0
    per_second_of_silence: Change = 0.05
    tool_unanswered: Change = 0.2
    barge_in: Change = -0.5
    line_into_silence: Change = -0.2
    line_over_evi: Change = 0.1
    impatient: Lines = ("Hello? Are you still there?", "Finally. I was left in silence.")


class UserLeaves(Part):
    """The user hangs up."""

    kind: Literal["user_leaves"]
    after_s: Seconds = 1.5


class HangUp(Part):
    """EVI ends the chat with its built-in `hang_up`."""

    kind: Literal["hang_up"]
    after_s: Seconds = 1.0


class Inactivity(Part):
    """Nobody speaks: EVI asks once, waits for the grace that Hume's event-message guide states, and ends the chat."""

    kind: Literal["inactivity"]
    after_s: Seconds = 20.0
    says: Lines
    expression: Expression = Field(default_factory=dict)
    grace_s: Seconds = 15.0


class Scenario(Part):
    """A scripted call. `config_id` is the config that the service shows for it, and that a `/chat` may ask for."""

    name: str
    config_id: UUID
    greeting: Say | None = None
    exchanges: tuple[Exchange, ...]
    whispers: tuple[Whisper, ...] = ()
    temper: Temper = Field(default_factory=Temper)
    ending: Annotated[UserLeaves | HangUp | Inactivity, Discriminator("kind")]


@cache
def scenarios() -> Mapping[str, Scenario]:
    """All scripts of this package, by name."""
    folder = resources.files(__package__) / "scenarios"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    found = (Scenario.model_validate_json(file.read_text("utf-8")) for file in files)
    return MappingProxyType({scenario.name: scenario for scenario in found})
