"""One line for one thing: an event, a tool call, a turn. Whole facts, speech in quotes.

A line that starts with `[` and a number is the server's; whatever a caller said stands between double quotes, in
which nothing can end the quote or begin a line (`evi_mcp.quoting`).
"""

import json
from collections.abc import Mapping
from typing import Any, cast

from evi_mcp.protocol.prosody import SCORE_NAMES
from evi_mcp.quoting import name, quote
from evi_mcp.views import shapes

_SCORE_NAMES = frozenset(SCORE_NAMES)


def expression(scores: Mapping[str, float]) -> str:
    """`Anger 0.41, Joy 0.3`: the scores that are at least half as high as the highest, which comes first.

    The names come from the wire, so odd ones are quoted.
    """
    least = max(scores.values(), default=0.0) / 2
    return ", ".join(f"{score_name(key)} {value:g}" for key, value in scores.items() if value >= least)


def score_name(key: str) -> str:
    """The name of a score as it is, if it is one of EVI's, else quoted."""
    return key if key in _SCORE_NAMES else quote(key, 40)


def event_words(item: shapes.Event, *, in_full: bool = False) -> str:
    """What there is to be said of an event, whole, in one line, but for its number, time and chat.

    `in_full` with the ids of messages and their place in the audio.
    """
    parts = [_what(item)]
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
        ours = item.get("by_kind") == "server"
        parts.append(f"by this server ({item['by']})" if ours else f"by {quote(item['by'])}")
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
        kind, who = call.get("answered_by_kind", "other"), call["answered_by"]
        claimed = kind in ("agent", "person")
        parts.append(f"by {quote(who) if claimed else f'this server ({who})' if kind == 'server' else who}")
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
