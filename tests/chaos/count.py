"""What came of it: the truth beside what agents read and were told. Pure.

An event of the truth and one of a page are compared by all that a page shows of it. Events that look alike are counted;
their order is compared, too.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

OURS = ("chat_state", "command", "protocol_fault")
"""Types that the server adds. A frame that was corrupted did not happen: it may show as `protocol_fault` only."""

NAMED = ("assistant_message", "assistant_prosody", "audio_output", "tool_call", "tool_response", "tool_error")

USED_AGAIN = ("call_", "filler-")
"""What ids begin with that the service uses more than once."""

Key = tuple[Any, ...]


def key_of_frame(frame: str) -> Key:
    """What identifies an event of the truth."""
    made = json.loads(frame)
    kind = made["type"]
    said = made.get("message")
    text = said["content"] if isinstance(said, dict) else None
    match kind:
        case "user_message":
            time = made["time"]
            return kind, text, made["interim"], made["from_text"], time["begin"], time["end"]
        case "assistant_message":
            return kind, made["id"], text, made["from_text"], made["is_quick_response"]
        case "assistant_prosody" | "audio_output":
            return kind, made["id"]
        case "tool_call":
            return kind, made["tool_call_id"], made["parameters"], made["response_required"]
        case "tool_response" | "tool_error":
            return kind, made["tool_call_id"], made.get("content"), made.get("error")
        case "session_settings":
            return kind, made["voice_id"]
        case "error":
            return kind, made["code"], made["message"]
        case "something_new":
            return kind, made["value"]
    return (kind,)


def key_of_event(event: dict[str, Any]) -> Key:
    """The same of an event of a page (the contract's section 4: fields that do not apply are absent)."""
    kind, get = event["type"], event.get
    match kind:
        case "user_message":
            flags = bool(get("interim")), bool(get("from_text"))
            return kind, get("text"), *flags, get("begin_ms"), get("end_ms")
        case "assistant_message":
            return kind, get("message_id"), get("text"), bool(get("from_text")), bool(get("quick"))
        case "assistant_prosody" | "audio_output":
            return kind, get("message_id")
        case "tool_call":
            return kind, get("tool_call_id"), get("parameters"), get("response_required")
        case "tool_response" | "tool_error":
            return kind, get("tool_call_id"), get("content"), get("error")
        case "session_settings":
            return kind, (get("settings") or {}).get("voice_id")
        case "error":
            return kind, get("code"), get("error")
        case "something_new":
            return kind, json.loads(event["content"]).get("value")
    return (kind,)


def has_identity(frame: str) -> bool:
    """Whether EVI gives the event something of its own (`evi-protocol.md`, 1.6), by which it is known for ever; an id
    that is used again is not."""
    made = json.loads(frame)
    kind = made["type"]
    spoken = kind == "user_message" and not made["from_text"] and made["time"]["end"] > 0
    named = kind in NAMED and not (made.get("id") or made.get("tool_call_id")).startswith(USED_AGAIN)
    return spoken or named or kind in ("chat_metadata", "user_interruption")


def allowed_late(history: Sequence[str], kept_back: Iterable[tuple[int, int]]) -> set[int]:
    """The events that may come late: those that the proxy kept back.

    An event without an identity takes those like it along: while one is missing, a reader who can but count is one
    behind on that connection.

    Args:
        kept_back: Number of the event, and of the first one that its connection did not bring any more.
    """
    late = set()
    for index, upto in kept_back:
        late.add(index)
        if not has_identity(history[index]):
            kind = json.loads(history[index])["type"]
            later = range(index, min(upto, len(history)))
            late |= {n for n in later if not has_identity(history[n]) and json.loads(history[n])["type"] == kind}
    return late


@dataclass(frozen=True)
class Events:
    """Counts of one chat, as one reader saw it. `problems` names the first ones."""

    truth: int = 0
    log: int = 0
    lost: int = 0
    doubled: int = 0
    invented: int = 0
    out_of_order: int = 0
    late: int = 0
    faults: int = 0
    problems: list[str] = field(default_factory=list)


def compare(history: Sequence[str], events: Sequence[dict[str, Any]], kept_back: Iterable[tuple[int, int]]) -> Events:
    """The events that a reader has, in its order, beside those that happened."""
    keys = [key_of_frame(frame) for frame in history]
    read = [key_of_event(event) for event in events if event["type"] not in OURS]
    happened, logged = Counter(keys), Counter(read)
    lost, more = happened - logged, logged - happened
    doubled = Counter({key: count for key, count in more.items() if key in happened})
    invented = more - doubled
    late = allowed_late(history, kept_back)
    in_order = [key for index, key in enumerate(keys) if index not in late and key not in lost]
    behind = _behind(in_order, read)
    seqs = [event["seq"] for event in events]
    if seqs != sorted(set(seqs)):
        behind = [("the numbers of the events", "do not grow"), *behind]
    return Events(
        truth=len(keys),
        log=len(read),
        lost=lost.total(),
        doubled=doubled.total(),
        invented=invented.total(),
        out_of_order=len(behind),
        late=len(late),
        faults=sum(event["type"] == "protocol_fault" for event in events),
        problems=[
            f"{name}: {key}"
            for name, found in (("lost", lost), ("doubled", doubled), ("invented", invented), ("out of order", behind))
            for key in list(found)[:3]
        ],
    )


def _behind(expected: Sequence[Key], read: Sequence[Key]) -> list[Key]:
    """Those of `expected` that `read` does not have in this order; nothing, if it has all of them so."""
    rest = iter(read)
    if all(key in rest for key in expected):
        return []
    matches = SequenceMatcher(None, expected, read, autojunk=False).get_matching_blocks()
    found = {match.a + offset for match in matches for offset in range(match.size)}
    return [key for place, key in enumerate(expected) if place not in found]


@dataclass
class Asked:
    """A command that an agent asked for. `mark` tells it from all others of its chat; `outcome` is what it was told."""

    chat_id: str
    tool: str
    mark: str
    outcome: str = "maybe"  # or confirmed, sent, refused; an agent that was called off does not know
    reason: str = ""
    tool_call_id: str = ""


@dataclass(frozen=True)
class Commands:
    """Counts of one chat's commands."""

    asked: int = 0
    written: int = 0  # received by the service, once
    refused: int = 0
    maybe: int = 0
    on_the_way: int = 0  # written to a socket that broke before the service got it; no receipt says `confirmed`
    twice: int = 0
    wrong: int = 0  # a receipt or a refusal that is not true
    answered_twice: int = 0
    problems: list[str] = field(default_factory=list)


def mark_of(command: dict[str, Any]) -> str:
    """What tells a received command from others: its words, its tool call, or nothing but its type."""
    return str(command.get("text") or command.get("content") or command["type"])


def account(asked: Sequence[Asked], received: Sequence[dict[str, Any]]) -> Commands:
    """What was asked for in one chat beside what the service received."""
    arrived = Counter(mark_of(command) for command in received)
    by_mark: dict[str, list[Asked]] = {}
    for one in asked:
        by_mark.setdefault(one.mark, []).append(one)
    twice, wrong = Counter[str](), Counter[str]()
    written = on_the_way = 0
    for mark in by_mark.keys() | arrived.keys():
        mine = Counter(one.outcome for one in by_mark.get(mark, ()))
        came, sure = arrived[mark], mine["confirmed"] + mine["sent"]
        may_come = sure + mine["maybe"]
        twice[mark] = max(0, came - may_come) if may_come else 0
        wrong[mark] = max(0, mine["confirmed"] - came) + (0 if may_come else came)
        written += min(came, may_come)
        on_the_way += max(0, sure - came)
    perhaps = Counter(one.tool_call_id for one in asked if one.tool_call_id and one.outcome == "maybe")
    answers = Counter(command["tool_call_id"] for command in received if "tool_call_id" in command)
    again = {id: count - 1 - perhaps[id] for id, count in answers.items() if count > 1 + perhaps[id]}
    problems = [f"written twice: {mark}" for mark in +twice] + [f"answered twice: {id}" for id in again]
    problems += [f"not as it was told: {mark} {by_mark.get(mark)}" for mark in +wrong]
    outcomes = Counter(one.outcome for one in asked)
    return Commands(
        asked=len(asked),
        written=written,
        refused=outcomes["refused"],
        maybe=outcomes["maybe"],
        on_the_way=on_the_way,
        twice=twice.total(),
        wrong=wrong.total(),
        answered_twice=sum(again.values()),
        problems=problems,
    )
