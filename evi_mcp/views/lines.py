"""One line for an event, a tool call or a turn: all that is known of it, with speech in quotes.

A line that starts with `[` and a number is the server's; whatever a caller said stands between double quotes, in
which nothing can end the quote or begin a line (`evi_mcp.quoting`).
"""

import json
from collections.abc import Mapping
from typing import Any, Literal, cast

from evi_mcp.protocol.prosody import SCORE_NAMES
from evi_mcp.quoting import name, plain, quote
from evi_mcp.views import shapes

_SCORE_NAMES = frozenset(SCORE_NAMES)


def expression(scores: Mapping[str, float]) -> str:
    """`Anger 0.41, Joy 0.3`: the highest score, and those that are at least half as high.

    The names come from the service, so those that are not EVI's are quoted.
    """
    highest = max(scores.values(), default=0.0)
    least = highest / 2 if highest > 0 else highest
    return ", ".join(f"{score_name(key)} {value:g}" for key, value in scores.items() if value >= least)


def score_name(key: str) -> str:
    """The name of a score as it is, if it is one of EVI's, else quoted."""
    return key if key in _SCORE_NAMES else quote(key, 40)


def event_words(item: shapes.Event, *, in_full: bool = False) -> str:
    """All that is known of an event but its number, time and chat, in one line.

    Args:
        item: The event; any of its fields may be missing.
        in_full: With the ids of messages and their place in the audio.
    """
    parts = [_what(item)]
    flags = [
        word
        for word, key in (
            ("interim", "interim"),
            ("from text", "from_text"),
            ("quick", "quick"),
            ("reworded", "reworded"),
            ("late", "late"),
        )
        if item.get(key)
    ]
    flags += _heard(item)
    if flags:
        parts.append(f"({', '.join(flags)})")
    if "text" in item:
        parts.append(quote(item["text"]))
    if item.get("reworded") and "asked_text" in item:
        parts.append(f"asked for {quote(item['asked_text'])}")
    if "expression" in item:
        parts.append(expression(item["expression"]))
    facts = cast(Mapping[str, Any], item)
    if (told := _told(item)) is not None:
        parts.append(quote(told))
    else:
        parts += [f"{key} {quote(facts[key])}" for key in _QUOTED if key in facts]
    if "settings" in item:
        parts.append(quote(json.dumps(item["settings"], ensure_ascii=False, separators=(",", ":"))))
    if "reason" in item:
        parts.append(f"({plain(item['reason'])})")  # our own words, in which those of others are quoted
    if item.get("response_required"):
        parts.append("needs an answer")
    if in_full and "begin_ms" in item:
        parts.append(f"at {item['begin_ms']}-{item.get('end_ms', '?')} ms")
    if "message_id" in item and (in_full or item["type"] != "assistant_message"):
        parts.append(f"of {name(item['message_id'])}")
    if "by" in item:
        ours = item.get("by_kind") == "server"
        parts.append(f"by this server ({item['by']})" if ours else f"by {quote(item['by'])}")
    if "left_out" in item:
        parts.append(f"({item['left_out']} characters left out; raise max_chars)")
    return " ".join(parts)


def _heard(item: shapes.Event) -> list[str]:
    """How much of it the person on the line has heard, where that is known."""
    if "heard" not in item:
        return []
    much = "not heard" if item["heard"] == "none" else "heard in part"
    return [f"{much}, {item['heard_ms'] / 1000:.1f} s of it" if item.get("heard_ms") else much]


_TELLING = frozenset({"dtmf", "history_truncated", "messages_dropped", "recap"})
"""Types of a hub's that say in a sentence what there is to know."""


def _told(item: shapes.Event) -> str | None:
    """That sentence; `None` if there is none, or not all of it."""
    if item["type"] not in _TELLING:
        return None
    try:
        found = json.loads(item.get("content", ""))
    except (ValueError, RecursionError):
        return None
    told = found.get("message") if isinstance(found, dict) else None
    return told if isinstance(told, str) else None


_QUOTED = ("parameters", "content", "error", "code", "slug")


def _what(item: shapes.Event) -> str:
    """What happened, and to which tool call."""
    kind = item["type"]
    match kind:
        case "user_message" | "assistant_message":
            return name(item.get("speaker", kind))
        case "chat_state":
            words = [kind, name(item.get("state", "unknown"))]
        case "command":
            words = [kind, name(item.get("command", "unknown"))]
        case _:
            words = [name(kind)]
    words += [name(item[key]) for key in _NAMES if key in item]
    return " ".join(words)


_NAMES: tuple[Literal["name", "tool_call_id"], ...] = ("name", "tool_call_id")


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
    if "waiting_s" in call:
        more = "more than " if call.get("replayed") else ""
        parts.append(f"{call['status']}, {more}{call['waiting_s']:g} s")
    else:
        parts.append(f"{call['status']}, at a time that was not seen")
    if "answered_by" in call:
        kind, who = call.get("answered_by_kind", "other"), call["answered_by"]
        claimed = kind in ("agent", "person")
        parts.append(f"by {quote(who) if claimed else f'this server ({who})' if kind == 'server' else who}")
    return " ".join(parts)


def turn_line(item: shapes.Turn) -> str:
    """One turn in one line."""
    mark = "*" if item.get("replayed") else ""
    parts = [f"[{item['at'][11:19]}{mark}]", name(item["speaker"])]
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
