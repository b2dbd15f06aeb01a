"""Records to structured results."""

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any, Protocol, cast

from evi_mcp.chat import events as chat_events
from evi_mcp.chat.pages import Page
from evi_mcp.chat.record import ChatRecord
from evi_mcp.chat.tool_calls import Status, TrackedCall
from evi_mcp.chat.turns import Turn as ChatTurn
from evi_mcp.ledger.cursors import Cursors
from evi_mcp.protocol.lifecycle import State
from evi_mcp.protocol.prosody import strongest
from evi_mcp.protocol.redaction import MAX_DEPTH
from evi_mcp.quoting import ending, name, quote
from evi_mcp.times import iso
from evi_mcp.views import shapes

LAST_TURNS = 3
LAST_TURN_CHARS = 400
MANY_CHATS = 20
MAX_FIRST_WORDS = 120
"""Characters of what the user said first, in a list of chats."""
MAX_PARAMETERS = 4000
"""Characters of a tool call's parameters in a list of calls."""
MAX_ALL_PARAMETERS = 24_000
"""Characters of the parameters of all calls in one list."""
MAX_TYPES = 20
"""Types of which a page says how many of their events were left out."""
OTHER_TYPES = "other types"
MAX_PENDING = 10
"""Tool calls that wait, on one page."""
MAX_NEW_CHATS = 20
"""Chats that have begun, on one page."""
MAX_CALLS = 100
"""Tool calls in one list."""


class _Begun(Protocol):
    """A chat of the service, as its list has it."""

    @property
    def chat_id(self) -> str: ...

    @property
    def chat_group_id(self) -> str | None: ...

    @property
    def started_ms(self) -> int | None: ...


_PLAIN_FIELDS = tuple(
    field
    for field in shapes.Event.__annotations__
    if field not in ("seq", "chat_id", "at", "arrived_at", "type", "expression", "given_by")
)
"""What an event shows just as it is kept."""
_plain_values = attrgetter(*_PLAIN_FIELDS)


def event(item: chat_events.Event, record: ChatRecord | None = None, *, with_chat_id: bool) -> shapes.Event:
    """One event, with what its chat's record knows of it; `with_chat_id` where a page is about more than one chat."""
    shown: dict[str, Any] = {"seq": item.seq, "type": item.type}
    shown["arrived_at" if item.replayed else "at"] = iso(item.at)
    if item.replayed and item.happened_at is not None:
        shown["at"] = iso(item.happened_at)
    if with_chat_id:
        shown["chat_id"] = item.chat_id
    values = zip(_PLAIN_FIELDS, _plain_values(item), strict=True)
    shown |= {name: value for name, value in values if value is not None}
    if record is not None and (giver := record.given.giver_of(item)) is not None:
        shown["given_by"] = giver.name
    if scores := record.scores_of(item) if record is not None else item.scores:
        shown["expression"] = strongest(scores)
    return cast(shapes.Event, shown)


def page(items: Page, events: list[shapes.Event], records: list[ChatRecord], cursor: str) -> shapes.EventPage:
    """A page; `events` are those on it, perhaps cut, and `cursor` is where the next one starts."""
    shown: shapes.EventPage = {
        "events": events,
        "cursor": cursor,
        "more": items.more,
        "state": states(items, records),
    }
    if items.gap:
        shown["gap"] = {"reason": items.gap.reason.value}
        if items.gap.oldest_seq is not None:
            shown["gap"]["oldest_seq"] = items.gap.oldest_seq
    if items.omitted:
        shown["omitted"] = _most_omitted(items.omitted)
    if behind := [record.chat_id for record in records if _catching_up(record)]:
        shown["catching_up"] = behind
    return shown


def pending(
    records: Sequence[ChatRecord], elapsed: float, length: Callable[[shapes.ToolCall], int], room: int
) -> tuple[list[shapes.ToolCall], int]:
    """The calls that wait for an answer in any of the chats, the oldest first, without their parameters; as many as
    take at most `room` characters by `length`, and the count of the others."""
    waiting = sorted(
        (call for record in records if not record.over for call in record.tool_calls.pending()),
        key=lambda call: call.number,
    )
    shown: list[shapes.ToolCall] = []
    for call in waiting[:MAX_PENDING]:
        item = tool_call(call, elapsed, with_chat_id=len(records) > 1, most=None)
        room -= length(item)
        if room < 0:
            break
        shown.append(item)
    return shown, len(waiting) - len(shown)


def new_chats(chats: Sequence[_Begun], room: int) -> tuple[list[shapes.NewChat], int]:
    """Chats that have begun, as many as take at most `room` characters, and the count of the others."""
    shown: list[shapes.NewChat] = []
    for chat in chats[:MAX_NEW_CHATS]:
        room -= len(name(chat.chat_id)) + 2
        if room < 0:
            break
        item: shapes.NewChat = {"chat_id": chat.chat_id}
        if chat.chat_group_id:
            item["chat_group_id"] = chat.chat_group_id
        if chat.started_ms is not None:
            item["started_at"] = iso(chat.started_ms / 1000)
        shown.append(item)
    return shown, len(chats) - len(shown)


def _most_omitted(counts: Counter[str]) -> dict[str, int]:
    """The counts by type; of very many types the largest, and the sum of the others."""
    if len(counts) <= MAX_TYPES:
        return dict(counts)
    most = dict(counts.most_common(MAX_TYPES))
    return {**most, OTHER_TYPES: counts.total() - sum(most.values())}


def _catching_up(record: ChatRecord) -> bool:
    return record.catching_up and record.state is State.LIVE


def states(items: Page, records: list[ChatRecord]) -> dict[str, str]:
    """The states of the chats of a page. Of very many, those that are on the page, not live or catching up."""
    here = {item.chat_id for item in items.events}
    few = len(records) <= MANY_CHATS
    return {
        record.chat_id: record.state.value
        for record in records
        if few or record.chat_id in here or record.state is not State.LIVE or record.catching_up
    }


def tool_call(
    call: TrackedCall,
    elapsed: float,
    *,
    with_chat_id: bool,
    most: int | None = MAX_PARAMETERS,
    with_times: bool = False,
) -> shapes.ToolCall:
    """One tool call; `elapsed` in seconds of `Clock.elapsed`. `most` characters of its parameters are shown; `None`
    leaves them out. `with_times`: also when it was asked for and answered, and with what."""
    shown: shapes.ToolCall = {
        "tool_call_id": call.tool_call_id,
        "status": call.status.value,
    }
    if (waiting_s := call.waiting_s(elapsed)) is not None:
        shown["waiting_s"] = round(waiting_s, 1)
    if call.replayed:
        shown["replayed"] = True
    if with_chat_id:
        shown["chat_id"] = call.chat_id
    if call.name is not None:
        shown["name"] = call.name
    if call.parameters is not None and most is not None:
        shown["parameters"] = _parsed(call.parameters, most)
    if with_times:
        shown["arrived_at" if call.replayed else "at"] = iso(call.at)
        if call.closed_at is not None:
            shown["answered_at"] = iso(call.closed_at)
        if call.answer is not None:
            shown["answer"] = call.answer
    if call.deadline is not None and call.is_unanswered:
        shown["deadline_s"] = round(max(0.0, call.deadline - elapsed), 1)
    if (who := call.answered_by) is not None:
        shown["answered_by"] = f"perhaps {who.name}" if who.perhaps else who.name
        if who.kind != "other":
            shown["answered_by_kind"] = who.kind
    return shown


def tool_calls(calls: list[TrackedCall], elapsed: float, *, with_chat_id: bool) -> shapes.ToolCallList:
    """A list of calls in the order in which they came: first choice are those that wait, then the newest others."""
    pending = [call for call in calls if call.status is Status.PENDING][:MAX_CALLS]
    others = [call for call in calls if call.status is not Status.PENDING]
    room = MAX_CALLS - len(pending)
    kept = sorted([*pending, *(others[-room:] if room else [])], key=lambda call: call.number)
    most = min(MAX_PARAMETERS, MAX_ALL_PARAMETERS // max(1, len(kept)))
    shown: shapes.ToolCallList = {
        "tool_calls": [tool_call(call, elapsed, with_chat_id=with_chat_id, most=most, with_times=True) for call in kept]
    }
    if rest := len(calls) - len(kept):
        shown["not_shown"] = rest
    return shown


def _parsed(text: str, most: int) -> Any:
    """The value, if the text is JSON that everybody can read; else the text, cut if it is very long."""
    if (rest := len(text) - most) > 0:
        return f"{text[:most]}[{rest} characters left out; the tool_call event has them]"

    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair cannot be sent on
    except (ValueError, RecursionError):
        return text
    return value if _nests(value, MAX_DEPTH) else text


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _finite(number: str) -> float:
    if not math.isfinite(value := float(number)):
        raise ValueError(number)
    return value


def _nests(value: Any, most: int) -> bool:
    """Whether a JSON value nests at most so deeply; not everybody can read one that nests more."""
    if isinstance(value, dict):
        value = list(value.values())
    return not isinstance(value, list) or (most > 0 and all(_nests(item, most - 1) for item in value))


def turn(item: ChatTurn) -> shapes.Turn:
    """One turn, with the three strongest expressions of its voice."""
    shown: shapes.Turn = {"speaker": item.speaker, "text": item.text}
    if item.replayed:
        shown["arrived_at"] = iso(item.at)
    else:
        shown["at"] = iso(item.at)
    if item.begin_ms is not None:
        shown["begin_ms"] = item.begin_ms
    if scores := item.scores:
        shown["expression"] = strongest(scores)
    if item.interrupted:
        shown["interrupted"] = True
    if item.from_text:
        shown["from_text"] = True
    if item.giver is not None:
        shown["given_by"] = item.giver.name
    if item.replayed:
        shown["replayed"] = True
    return shown


def chat(record: ChatRecord, cursors: Cursors, elapsed: float) -> shapes.Chat:
    """What is known of a chat; `elapsed` in seconds of `Clock.elapsed`."""
    shown: shapes.Chat = {
        "chat_id": record.chat_id,
        "state": record.state.value,
        "paused": record.pause.paused,
        "cursor": _cursor(record, cursors),
        "event_count": record.log.appended,
        "reconnects": record.reconnects,
        "attached_at": iso(record.attached_at),
        "pending_tool_calls": tool_calls(record.tool_calls.pending(), elapsed, with_chat_id=False)["tool_calls"],
        "last_turns": [_ending_of(turn(item), LAST_TURN_CHARS) for item in record.turns.last(LAST_TURNS)],
    }
    if _catching_up(record):
        shown["catching_up"] = True
    if record.chat_group_id is not None:
        shown["chat_group_id"] = record.chat_group_id
    if record.source is not None:
        shown["source"] = record.source
    if record.supports is not None:
        shown["supports"] = list(record.supports)
    if record.reason is not None:
        shown["reason"] = record.reason
    if record.last_event_at is not None:
        shown["last_event_at"] = iso(record.last_event_at)
    if record.pause.shown_resumes_at is not None:
        shown["resumes_at"] = iso(record.pause.shown_resumes_at)
    if record.pause.undelivered is not None:
        shown["resume_undelivered"] = record.pause.undelivered
    return shown


def _cursor(record: ChatRecord, cursors: Cursors) -> str:
    """The place of a reader who has seen all of the chat."""
    return cursors.at(record.read_to, record.chat_id)


def summary(record: ChatRecord, cursors: Cursors, elapsed: float) -> shapes.ChatSummary:
    """An attached chat in a list; `elapsed` in seconds of `Clock.elapsed`."""
    pending = record.tool_calls.pending()[:MAX_CALLS]
    shown: shapes.ChatSummary = {
        "chat_id": record.chat_id,
        "attached": True,
        "state": record.state.value,
        "cursor": _cursor(record, cursors),
        "pending_tool_calls": [tool_call(call, elapsed, with_chat_id=False, most=None) for call in pending],
    }
    if _catching_up(record):
        shown["catching_up"] = True
    if record.chat_group_id is not None:
        shown["chat_group_id"] = record.chat_group_id
    if record.source_name is not None:
        shown["source"] = record.source_name
    if (first := record.turns.first("user")) is not None:
        shown["first_words"] = first.text[:MAX_FIRST_WORDS]
    if record.last_event_at is not None:
        shown["last_event_at"] = iso(record.last_event_at)
    return shown


def transcript(
    record: ChatRecord, cursors: Cursors, last_turns: int, max_chars: int, length: Callable[[shapes.Turn], int]
) -> shapes.Transcript:
    """The newest turns that take at most `max_chars` characters by `length`. The newest turn is always there, if need
    be with its ending only."""
    taken: list[shapes.Turn] = []
    room = max_chars
    for item in reversed(record.turns.last(last_turns)):
        shown = turn(item)
        room -= length(shown)
        if room < 0 and taken:
            break
        if room < 0:
            without_text = length({**shown, "text": "", "left_out": len(shown["text"])})
            shown = _ending_of(shown, len(ending(shown["text"], max_chars - without_text)))
        taken.append(shown)
    result: shapes.Transcript = {"turns": taken[::-1], "cursor": _cursor(record, cursors)}
    if earlier := len(record.turns) - len(taken):
        result["earlier_turns"] = earlier
    return result


def expressions(record: ChatRecord, speaker: str, last_turns: int, top: int) -> shapes.Expressions:
    """The `top` strongest scores of one side's voice over its last turns."""
    scored = (turn.scores for turn in record.turns.voiced(speaker) if turn.has_scores)
    turns = list(islice(scored, last_turns))[::-1]
    names = dict.fromkeys(name for scores in turns for name in scores)
    series = {name: [scores.get(name, 0.0) for scores in turns] for name in names}
    means = {name: sum(values) / len(values) for name, values in series.items()}
    shown: shapes.Expressions = {
        "speaker": speaker,
        "turns": len(turns),
        "scores": {
            name: {
                "series": [round(value, 2) for value in series[name]],
                "mean": round(means[name], 2),
                "change": round(series[name][-1] - series[name][0], 2),
            }
            for name in sorted(names, key=lambda name: -means[name])[:top]
        },
    }
    if not turns and record.source is not None:
        shown["note"] = (
            f"this chat comes from {quote(record.source, 64)}, which has given no scores of the {speaker}'s voice; only"
            " EVI scores every voice"
        )
    return shown


def _ending_of(shown: shapes.Turn, most: int) -> shapes.Turn:
    """A turn with the last `most` characters of its text, and the count of those before them."""
    rest = len(shown["text"]) - most
    if rest > 0:
        shown["text"] = shown["text"][rest:]
        shown["left_out"] = shown.get("left_out", 0) + rest
    return shown
