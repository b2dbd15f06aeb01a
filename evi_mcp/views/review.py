"""A call on one page: what was said and how it sounded, what was asked for and done, and how it ended.

Every utterance has the expression of its own voice: the mean over a turn would hide a peak in it.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NotRequired, cast

from pydantic import Field
from typing_extensions import TypedDict  # pydantic refuses that of `typing` before Python 3.12

from evi_mcp.chat.events import CHAT_STATE, COMMAND, HISTORY_TRUNCATED, Event
from evi_mcp.chat.pages import MAX_SCANNED
from evi_mcp.chat.record import ChatRecord
from evi_mcp.ledger.cursors import Cursors
from evi_mcp.protocol.prosody import strongest
from evi_mcp.quoting import name, plain
from evi_mcp.times import iso
from evi_mcp.views import shapes, structure
from evi_mcp.views.lines import call_end, clock, event_words, offset, voice
from evi_mcp.views.text import counted

MAX_ITEMS = 1000
"""The most of what happened that is looked at, the newest."""
MAX_FIELD = 1000
"""Characters of one text that are shown."""
TOP_PEAKS = 3

_MESSAGES = frozenset({"user_message", "assistant_message"})
_ANSWERS = frozenset({"tool_response", "tool_error"})
_KINDS = _MESSAGES | _ANSWERS | {"tool_call", "user_interruption", "error", CHAT_STATE, COMMAND, HISTORY_TRUNCATED}
_CUT_FIELDS = ("text", "asked_text", "parameters", "content", "error", "reason")


class Happened(shapes.Event):
    """An event of the call. A command has a `status`, as its receipt; a tool call the end of it, as `call`."""

    status: NotRequired[
        Annotated[str, Field(description="sent, confirmed, reworded, no_effect, maybe_sent or not_sent.")]
    ]
    shown_by: NotRequired[Annotated[int, Field(description="The event that shows the effect of a command.")]]
    call: NotRequired[shapes.ToolCall]


class Peak(TypedDict):
    """The highest value of a score in one utterance, and the event of that."""

    value: float
    seq: shapes.Seq


class Review(TypedDict):
    """A call. `peaks`: by speaker, the strongest scores of single utterances. `left_out`: how many older events are not
    shown; `not_kept`: the log has dropped still older ones."""

    chat_id: str
    state: str
    attached_at: str
    cursor: shapes.Cursor
    utterances: int
    tool_calls: int
    commands: int
    interruptions: int
    peaks: dict[str, dict[str, Peak]]
    events: list[Happened]
    reason: NotRequired[str]
    last_event_at: NotRequired[str]
    left_out: NotRequired[int]
    not_kept: NotRequired[bool]


def review(record: ChatRecord, cursors: Cursors, elapsed: float, max_chars: int) -> Review:
    """The newest of what happened that fits into a text of `max_chars` characters; `elapsed` in seconds of
    `Clock.elapsed`."""
    found, more = _newest(record)
    kinds = [event.type for event in found]
    shown: Review = {
        "chat_id": record.chat_id,
        "state": record.state.value,
        "attached_at": iso(record.attached_at),
        "cursor": cursors.at(record.read_to, record.chat_id),
        "utterances": sum(kind in _MESSAGES for kind in kinds),
        "tool_calls": kinds.count("tool_call"),
        "commands": kinds.count(COMMAND),
        "interruptions": kinds.count("user_interruption"),
        "peaks": _peaks(record, found),
        "events": [],
    }
    if record.reason is not None:
        shown["reason"] = record.reason[:MAX_FIELD]
    if record.last_event_at is not None:
        shown["last_event_at"] = iso(record.last_event_at)
    if more or record.log.dropped_shown_seq:
        shown["not_kept"] = True
    shown["left_out"] = len(found)  # the longest that its line can be
    room = max_chars - len(text(shown))
    taken: list[Happened] = []
    for event in found:
        item = _happened(record, event, elapsed)
        room -= len(_line(item)) + 1
        if room < 0:
            break
        taken.append(item)
    shown["events"] = taken[::-1]
    shown["left_out"] = len(found) - len(taken)
    if not shown["left_out"]:
        del shown["left_out"]
    return shown


def _newest(record: ChatRecord) -> tuple[list[Event], bool]:
    """What happened, newest first, and whether there is more than was looked at."""
    found: list[Event] = []
    known_calls = {call.tool_call_id for call in record.tool_calls}
    for looked, event in enumerate(reversed(record.log)):
        if looked == MAX_SCANNED or len(found) == MAX_ITEMS:
            return found, True
        is_told = event.type in _ANSWERS and event.tool_call_id in known_calls  # with its call
        if event.type in _KINDS and not event.interim and not is_told:
            found.append(event)
    return found, False


def _peaks(record: ChatRecord, found: list[Event]) -> dict[str, dict[str, Peak]]:
    peaks: dict[str, dict[str, Peak]] = {}
    for event in reversed(found):
        if event.type not in _MESSAGES or not (scores := record.scores_of(event)):
            continue
        highest = peaks.setdefault(event.speaker or "", {})
        for score, value in strongest(scores).items():
            if score not in highest or value > highest[score]["value"]:
                highest[score] = {"value": value, "seq": event.seq}
    return {
        speaker: dict(sorted(highest.items(), key=lambda peak: -peak[1]["value"])[:TOP_PEAKS])
        for speaker, highest in peaks.items()
    }


def _happened(record: ChatRecord, event: Event, elapsed: float) -> Happened:
    shown: dict[str, Any] = {**structure.event(event, record, with_chat_id=False)}
    if event.type == COMMAND:
        if event.command in _ANSWERS:
            shown.pop("content", None)  # it is told with the call
        if (outcome := record.outcomes.of(event.seq)) is not None:
            shown["status"] = outcome.status
            if outcome.shown_by is not None:
                shown["shown_by"] = outcome.shown_by
    if event.type == "tool_call" and (call := record.tool_calls.numbered(event.seq)) is not None:
        shown["call"] = structure.tool_call(call, elapsed, with_chat_id=False, most=None, with_times=True)
    if "settings" in shown and len(str(shown["settings"])) > MAX_FIELD:
        shown["settings"] = {"left out": "too long; read_events shows them"}
    for field in _CUT_FIELDS:
        if (rest := len(shown.get(field, "")) - MAX_FIELD) > 0:
            shown[field] = shown[field][:MAX_FIELD]
            shown["left_out"] = shown.get("left_out", 0) + rest
    return cast(Happened, shown)


def text(shown: Review) -> str:
    """The same as text."""
    return "\n".join(_lines(shown))


def _lines(shown: Review) -> Iterator[str]:
    reason = f" ({plain(shown['reason'])})" if "reason" in shown else ""
    last = f", last event {clock(shown['last_event_at'])}" if "last_event_at" in shown else ""
    yield f"chat {name(shown['chat_id'])}: {shown['state']}{reason}"
    yield f"attached {clock(shown['attached_at'])}{last}"
    counts = [("utterances", "utterance"), ("tool_calls", "tool call"), ("commands", "command")]
    numbers = cast(Mapping[str, int], shown)
    yield ", ".join(counted(numbers[key], word) for key, word in [*counts, ("interruptions", "interruption")])
    for speaker, peaks in shown["peaks"].items():
        told = ", ".join(f"{voice({score: peak['value']})} in {peak['seq']}" for score, peak in peaks.items())
        yield f"strongest in the {name(speaker)}'s voice: {told}"
    if shown.get("not_kept"):
        yield "what came before is not kept here"
    if rest := shown.get("left_out"):
        yield f"{counted(rest, 'older event')} left out; raise max_chars, or use read_events"
    yield from map(_line, shown["events"])
    yield f"cursor {shown['cursor']}"


def _line(item: Happened) -> str:
    event = cast(shapes.Event, {key: value for key, value in item.items() if key != "response_required"})
    mark = "*" if item.get("replayed") else ""
    if "at" in item:
        time = f" {clock(item['at'])}"
    else:
        time = f" {offset(item['begin_ms'])}" if "begin_ms" in item else ""
    parts = [f"[{item['seq']}{mark}{time}] {event_words(event)}"]
    if "call" in item:
        parts.append(call_end(item["call"]))
    if "status" in item:
        shown_by = f" by event {item['shown_by']}" if "shown_by" in item else ""
        parts.append(f"{item['status'].replace('_', ' ')}{shown_by}")
    return ": ".join(parts)
