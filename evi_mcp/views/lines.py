"""One line for an event, a tool call or a turn: all that is known of it, with speech in quotes.

A line that starts with `[` and a number is the server's; whatever a caller said stands between double quotes, in
which nothing can end the quote or begin a line (`evi_mcp.quoting`). A JSON object stands as it is: every word in it is
between double quotes already.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, cast

from evi_mcp.protocol.prosody import SCORE_NAMES
from evi_mcp.quoting import name, plain, quote, visible
from evi_mcp.views import shapes

_Name = Literal["name", "tool_call_id", "code", "slug"]

MAX_JSON = 4000
"""Characters of the longest text that is looked at for a JSON object."""

_SCORE_NAMES = frozenset(SCORE_NAMES)
_JSON_TEXT_OR_SPACE = re.compile(r'"(?:[^"\\]|\\.)*"|\s+')


def data(text: str) -> str:
    """A JSON object without the white space between its parts, in one printable line; any other text in quotes."""
    if len(text) > MAX_JSON or not text.lstrip().startswith("{") or not _is_json(text):
        return quote(text)
    return str(visible(_JSON_TEXT_OR_SPACE.sub(lambda found: found[0] if found[0][0] == '"' else "", text)))


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def clock(time: str) -> str:
    """`14:03:07` of a time in ISO 8601."""
    return time[11:19]


def offset(ms: int) -> str:
    """A place in the call's audio: `+0:17`, `+1:02:03`."""
    minutes, seconds = divmod(max(0, ms) // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"+{hours}:{minutes:02}:{seconds:02}" if hours else f"+{minutes}:{seconds:02}"


def expression(scores: Mapping[str, float]) -> str:
    """`Anger 0.41, Joy 0.3`: the highest score, and those that are at least half as high.

    The names come from the service, so those that are not EVI's are quoted.
    """
    return ", ".join(f"{score_name(key)} {value:g}" for key, value in _high(scores))


def voice(scores: Mapping[str, float]) -> str:
    """The same in fewer characters: `Anger .41 Joy .3`."""
    return " ".join(f"{score_name(key)} {_ZERO.sub('', f'{value:g}')}" for key, value in _high(scores))


def _high(scores: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    highest = max(scores.values(), default=0.0)
    least = highest / 2 if highest > 0 else highest
    return ((key, value) for key, value in scores.items() if value >= least)


_ZERO = re.compile(r"(?<![0-9.])0(?=[.])")


def score_name(key: str) -> str:
    """The name of a score as it is, if it is one of EVI's, else quoted."""
    return key if key in _SCORE_NAMES else quote(key, 40)


def event_words(item: shapes.Event, *, in_full: bool = False, is_closed: bool = False) -> str:
    """All that is known of an event but its number, time and chat, in one line.

    Args:
        item: The event; any of its fields may be missing.
        in_full: With the ids of messages and their place in the audio.
        is_closed: Whether it is a tool call that nobody waits for any more.
    """
    parts = [_what(item)]
    flags = [
        word
        for word, key in (
            ("interim", "interim"),
            ("quick", "quick"),
            ("reworded", "reworded"),
            ("late", "late"),
        )
        if item.get(key)
    ]
    flags += _heard(item)
    if given := given_words(item):
        flags.append(given)
    if flags:
        parts.append(f"({', '.join(flags)})")
    if "text" in item:
        parts.append(quote(item["text"]))
    if item.get("reworded") and "asked_text" in item:
        parts.append(f"asked for {quote(item['asked_text'])}")
    if "expression" in item:
        parts.append(voice(item["expression"]))
    facts = cast(Mapping[str, Any], item)
    if (told := _told(item)) is not None:
        parts.append(quote(told))
    else:
        written = quote if "left_out" in item else data  # what is cut is JSON no more
        named = _NAMED_IN_ERRORS if item["type"] == "error" else _NAMED
        parts += [f"{label}{written(facts[key])}" for key, label in named.items() if key in facts]
    if "settings" in item:
        parts.append(data(json.dumps(item["settings"], ensure_ascii=False, separators=(",", ":"))))
    if "reason" in item:
        parts.append(f"({plain(item['reason'])})")  # our own words, in which those of others are quoted
    if item.get("response_required"):
        parts.append("answered or given up" if is_closed else "needs an answer")
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


def given_words(item: shapes.Event | shapes.Turn, shown: Callable[[str], str] = quote) -> str:
    """Whose line it is, if it was given as text; nothing if it was spoken."""
    if "given_by" in item:
        return f"supervisor {shown(item['given_by'])}"
    if not item.get("from_text"):
        return ""
    return "supervisor, unknown" if item.get("speaker") == "assistant" else "typed, or a supervisor"


_NAMED = {"parameters": "", "content": "", "error": "error ", "code": "code ", "slug": "slug "}
"""What is written as data, and what it is called. The parameters of a call and its answer need no name,"""
_NAMED_IN_ERRORS = {"parameters": "", "content": "", "error": ""}
"""and an error is one; its code and slug stand before it."""


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
    words += [name(item[key]) for key in (_NAMES if kind != "error" else _NAMES_OF_ERRORS) if key in item]
    return " ".join(words)


_NAMES: tuple[_Name, ...] = ("name", "tool_call_id")
_NAMES_OF_ERRORS: tuple[_Name, ...] = ("code", "slug", *_NAMES)


def pending_line(call: shapes.ToolCall, *, on_page: bool = False) -> str:
    """A call that waits, in a page; `on_page`: its event is there, and says the rest."""
    parts = [name(call["tool_call_id"])]
    if not on_page:
        parts.append(name(call["name"], 64) if "name" in call else "without a name")
    if "chat_id" in call:
        parts.append(f"in {name(call['chat_id'])}")
    return f"pending: {' '.join(parts)}, {_waited(call)}"


def _waited(call: shapes.ToolCall) -> str:
    """How long it has waited, and how long it may."""
    said = f"{'more than ' if call.get('replayed') else ''}{call['waiting_s']:g} s"
    return f"{said}, this server answers it in {call['deadline_s']:g} s" if "deadline_s" in call else said


def tool_call_line(call: shapes.ToolCall) -> str:
    """One tool call in one line."""
    parts = [name(call["tool_call_id"])]
    if "chat_id" in call:
        parts.append(f"of {name(call['chat_id'])}")
    parts.append(name(call["name"]) if "name" in call else "without a name")
    if "parameters" in call:
        given = call["parameters"]
        compact = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False, separators=(",", ":"))
        parts.append(data(compact))
    parts.append(call_end(call))
    return " ".join(parts)


def call_end(call: shapes.ToolCall) -> str:
    """How long a call has waited, when, and who answered it with what."""
    facts = [call["status"], _waited(call) if "waiting_s" in call else "at a time that was not seen"]
    if "at" in call:
        facts.append(f"asked {clock(call['at'])}")
    if "answered_at" in call:
        facts.append(f"answered {clock(call['answered_at'])}")
    parts = [", ".join(facts)]
    if "answered_by" in call:
        kind, who = call.get("answered_by_kind", "other"), call["answered_by"]
        claimed = kind in ("agent", "person")
        parts.append(f"by {quote(who) if claimed else f'this server ({who})' if kind == 'server' else who}")
    if "answer" in call:
        parts.append(f"with {data(call['answer'])}")
    return " ".join(parts)


def when(item: shapes.Turn) -> str:
    """When it was said, as far as that is known: the time of day, or for history the place in the call's audio."""
    if "at" in item:
        return clock(item["at"])
    return f"* {offset(item['begin_ms'])}" if "begin_ms" in item else "*"


def turn_line(item: shapes.Turn) -> str:
    """One turn in one line."""
    parts = [f"[{when(item)}]", name(item["speaker"])]
    if given := given_words(item):
        parts.append(f"({given})")
    parts.append(quote(item["text"]))
    if "expression" in item:
        parts.append(voice(item["expression"]))
    if item.get("interrupted"):
        parts.append("(interrupted)")
    if "left_out" in item:
        parts.append(f"(the end of it; {item['left_out']} characters before are left out)")
    return " ".join(parts)
