"""One line for one thing: an event, a tool call, a turn. Whole facts, speech in quotes.

A line that starts with `[` and a number is the server's; whatever a caller said stands between double quotes, in
which nothing can end the quote or begin a line (`evi_mcp.quoting`).
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

from evi_mcp.chat import events as chat_events
from evi_mcp.protocol.prosody import SCORE_NAMES
from evi_mcp.quoting import name, quote
from evi_mcp.views import shapes, structure

_SCORE_NAMES = frozenset(SCORE_NAMES)
_CUT_FIELDS = ("text", "parameters", "content", "error", "reason", "name", "tool_call_id", "code", "slug")


def expression(scores: Mapping[str, float]) -> str:
    """`Anger 0.41, Joy 0.3`: the scores that are at least half as high as the highest, which comes first.

    The names come from the wire, so odd ones are quoted.
    """
    least = max(scores.values(), default=0.0) / 2
    return ", ".join(f"{score_name(key)} {value:g}" for key, value in scores.items() if value >= least)


def score_name(key: str) -> str:
    """The name of a score as it is, if it is one of EVI's, else quoted."""
    return key if key in _SCORE_NAMES else quote(key, 40)


SHORT_ID = 8


def event_lines(items: Iterable[shapes.Event], *, in_full: bool = False) -> Iterator[str]:
    """A line for each event; `in_full` with the ids of messages and their place in the audio.

    What a line repeats of those before it is shortened: within a minute the time is `:SS`, and of a chat's id come the
    first 8 characters, if those are the chat's alone on this page.
    """
    items = list(items)
    minute = ""
    ids = {item["chat_id"] for item in items if "chat_id" in item}
    starts = Counter(chat_id[:SHORT_ID] for chat_id in ids)
    seen: set[str] = set()
    for item in items:
        chat_id = item.get("chat_id", "")
        if chat_id in seen and starts[chat_id[:SHORT_ID]] == 1 and len(chat_id) > SHORT_ID + 1:
            chat_id = f"{chat_id[:SHORT_ID]}…"
        time = item["at"][11:19]
        yield event_line(item, chat_id, time if time[:5] != minute else time[5:], in_full=in_full)
        minute = time[:5]
        seen.add(item.get("chat_id", ""))


def event_line(item: shapes.Event, chat_id: str = "", time: str | None = None, *, in_full: bool = False) -> str:
    """One event, whole, in one line; `chat_id` and `time` as they are to be shown."""
    mark = "*" if item.get("replayed") else ""
    parts = [f"[{item['seq']}{mark} {item['at'][11:19] if time is None else time}]"]
    if chat_id:
        parts.append(chat_id)
    parts.append(_what(item))
    flags = [
        word for word, key in (("interim", "interim"), ("from text", "from_text"), ("quick", "quick")) if item.get(key)
    ]
    if flags:
        parts.append(f"({', '.join(flags)})")
    if "text" in item:
        parts.append(quote(item["text"]))
    if "expression" in item:
        parts.append(expression(item["expression"]))
    facts = cast(Mapping[str, Any], item)
    parts += [f"{key} {quote(facts[key])}" for key in _QUOTED if key in facts]
    if "settings" in item:
        parts.append(quote(json.dumps(item["settings"], ensure_ascii=False, separators=(",", ":"))))
    if "reason" in item:
        parts.append(f"({item['reason']})")  # our own words; what is not stands in quotes in it
    if item.get("response_required"):
        parts.append("needs an answer")
    if in_full and "begin_ms" in item:
        parts.append(f"at {item['begin_ms']}-{item.get('end_ms', '?')} ms")
    if "message_id" in item and (in_full or item["type"] != "assistant_message"):
        parts.append(f"of {name(item['message_id'])}")
    if "by" in item:
        parts.append(f"by {name(item['by'])}")
    if "left_out" in item:
        parts.append(f"({item['left_out']} characters left out; raise max_chars)")
    return " ".join(parts)


_QUOTED = ("parameters", "content", "error", "code", "slug")


def _what(item: shapes.Event) -> str:
    kind = item["type"]
    match kind:
        case "user_message" | "assistant_message":
            return item.get("speaker", kind)
        case "chat_state":
            return f"chat_state {item.get('state')}"
        case "command":
            words = ["command", item.get("command", "")]
        case _:
            words = [name(kind)]
    if "name" in item:
        words.append(name(item["name"]))
    if "tool_call_id" in item:
        words.append(name(item["tool_call_id"]))
    return " ".join(words)


LONGEST_PAGE = 50_000
"""No page has more characters, so what is longer need not be written to know that it does not fit."""


def line_length(item: chat_events.Event, *, with_chat_id: bool, in_full: bool = False) -> int:
    """How many characters an event takes on a page, its line break included; of very long ones, at least."""
    for field in _CUT_FIELDS:
        if len(text := getattr(item, field) or "") > LONGEST_PAGE:
            return len(text)
    shown = structure.event(item, with_chat_id=False)
    line = event_line(shown, item.chat_id if with_chat_id else "", in_full=in_full)
    return len(line) + 1


def fit(item: chat_events.Event, room: int, *, with_chat_id: bool, in_full: bool = False) -> chat_events.Event:
    """The event, its longest fields cut to make its line fit into `room` characters; `left_out` counts the rest."""
    # No line holds more characters than it has room for, and quoting what cannot stay takes its time.
    long = {field: len(value) - room for field in _CUT_FIELDS if len(value := getattr(item, field) or "") > room}
    if long:
        cuts: dict[str, Any] = {field: getattr(item, field)[:room] for field in long}
        item = replace(item, **cuts, left_out=sum(long.values()))
    for _ in range(20):
        over = line_length(item, with_chat_id=with_chat_id, in_full=in_full) - room
        if over <= 0:
            break
        shown = {field: getattr(item, field) or "" for field in _CUT_FIELDS}
        longest = max(_CUT_FIELDS, key=lambda field: len(shown[field]))
        if len(shown[longest]) < 80:
            return replace(item, settings={"left out": "too long; raise max_chars"}) if item.settings else item
        # Quoting makes it longer, JSON most of all, so what is to go is reckoned in quoted characters.
        quoted = len(quote(shown[longest]))
        kept = max(0, int(len(shown[longest]) * (quoted - over - 60) / quoted))
        rest = len(shown[longest]) - kept
        cut: dict[str, Any] = {longest: shown[longest][:kept], "left_out": (item.left_out or 0) + rest}
        item = replace(item, **cut)
    return item


def tool_call_line(call: shapes.ToolCall) -> str:
    """One tool call in one line."""
    parts = [name(call["tool_call_id"])]
    if "chat_id" in call:
        parts.append(f"of {name(call['chat_id'])}")
    parts.append(name(call["name"]) if "name" in call else "without a name")
    if "parameters" in call:
        given = call["parameters"]
        as_text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False, separators=(",", ":"))
        parts.append(quote(as_text))
    parts.append(f"{call['status']}, {call['waiting_s']:g} s")
    if "answered_by" in call:
        parts.append(f"by {name(call['answered_by'])}")
    return " ".join(parts)


def turn_line(item: shapes.Turn) -> str:
    """One turn in one line."""
    mark = "*" if item.get("replayed") else ""
    parts = [f"[{item['at'][11:19]}{mark}]", item["speaker"]]
    if item.get("from_text"):
        parts.append("(from text)")
    parts.append(quote(item["text"]))
    if "expression" in item:
        parts.append(expression(item["expression"]))
    if item.get("interrupted"):
        parts.append("(interrupted)")
    if "left_out" in item:
        parts.append(f"(the end of it; {item['left_out']} characters before are left out)")
    return " ".join(parts)
