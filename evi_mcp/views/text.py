"""The same facts as text: one line an event, speech in quotes, and the next call to make.

A line that starts with `[` and a number is the server's; whatever a caller said stands between double quotes, in
which nothing can end the quote or begin a line (`evi_mcp.quoting`).
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from evi_mcp.chat import events as chat_events
from evi_mcp.chat.log import Cursors
from evi_mcp.chat.record import ChatRecord
from evi_mcp.quoting import name, quote
from evi_mcp.views import shapes, structure

_CUT_FIELDS = ("text", "parameters", "content", "error", "reason")


def expression(scores: Mapping[str, float]) -> str:
    """`Anger 0.21, Joy 0.10`; the names come from the wire, so odd ones are quoted."""
    return ", ".join(f"{_score_name(key)} {value:g}" for key, value in scores.items())


def _score_name(key: str) -> str:
    return key if key.isascii() and key.replace(" ", "").replace("(", "").replace(")", "").isalpha() else quote(key, 40)


def event_line(item: shapes.Event) -> str:
    """One event, whole, in one line."""
    mark = "*" if item.get("replayed") else ""
    parts = [f"[{item['seq']}{mark} {item['at'][11:19]}]"]
    if "chat_id" in item:
        parts.append(name(item["chat_id"]))
    parts.append(_what(item))
    flags = [
        word for word, key in (("interim", "interim"), ("from text", "from_text"), ("quick", "quick")) if item.get(key)
    ]
    if flags:
        parts.append(f"({', '.join(flags)})")
    if "text" in item:
        parts.append(quote(item["text"]))
    if "expression" in item:
        parts.append(f"({expression(item['expression'])})")
    parts += [f"{label} {quote(str(item[key]))}" for key, label in _QUOTED if key in item]  # type: ignore[literal-required]
    if "settings" in item:
        parts.append(quote(json.dumps(item["settings"], ensure_ascii=False, separators=(",", ":"))))
    if item.get("response_required"):
        parts.append("needs an answer")
    if "begin_ms" in item and "speaker" in item:
        parts.append(f"at {item['begin_ms']}-{item.get('end_ms', '?')} ms")
    if "message_id" in item and item["type"] != "assistant_message":
        parts.append(f"of {name(item['message_id'])}")
    if "by" in item:
        parts.append(f"by {name(item['by'])}")
    return " ".join(parts)


_QUOTED = (
    ("parameters", "parameters"),
    ("content", "content"),
    ("error", "error"),
    ("code", "code"),
    ("slug", "slug"),
    ("reason", "reason"),
)


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


def line_length(item: chat_events.Event, *, with_chat_id: bool) -> int:
    """How many characters an event takes on a page, its line break included."""
    return len(event_line(structure.event(item, with_chat_id=with_chat_id))) + 1


def fit(item: chat_events.Event, room: int, *, with_chat_id: bool) -> chat_events.Event:
    """The event, its longest fields cut so that its line takes at most `room` characters; what is cut is counted."""
    for _ in range(20):
        over = line_length(item, with_chat_id=with_chat_id) - room
        if over <= 0:
            return item
        longest = max(_CUT_FIELDS, key=lambda field: len(getattr(item, field) or ""))
        value: str = getattr(item, longest) or ""
        if len(value) < 100:
            return replace(item, settings={"left out": "too long; raise max_chars"}) if item.settings else item
        kept = max(0, min(len(value) - over - 80, len(value) * 3 // 4))
        cut: dict[str, Any] = {longest: f"{value[:kept]}[{len(value) - kept} characters left out; raise max_chars]"}
        item = replace(item, **cut)
    return item


def page(shown: shapes.EventPage, *, next_call: str) -> str:
    """A page, or that of a wait. `next_call` is the name of the tool that goes on from here."""
    count = len(shown["events"])
    head = f"{count} event{'' if count == 1 else 's'}; {_states(shown['state'])}"
    wait = cast(Mapping[str, str], shown)
    if "woken_by" in wait:
        head += f"; woken by {wait['woken_by']}"
    if "reason" in wait:
        head += f" ({quote(wait['reason'], 80)})"
    lines = [head]
    if gap := shown.get("gap"):
        what = "this server restarted" if gap["reason"] == "restarted" else "the log was full"
        lines.append(f"gap: {gap['reason']}, {what}; the oldest event kept is {gap.get('oldest_seq', 'none')}")
    lines += map(event_line, shown["events"])
    if any(item.get("replayed") for item in shown["events"]):
        lines.append("* came with the history")
    if omitted := shown.get("omitted"):
        counts = [f"{count} {name(kind)}" for kind, count in omitted.items()]
        rest = f" and {len(counts) - 5} more types" if len(counts) > 5 else ""
        lines.append(f"left out: {', '.join(counts[:5])}{rest}")
    lines.append(f'{"more: " if shown["more"] else "next: "}{next_call}(after="{shown["cursor"]}")')
    return "\n".join(lines)


def _states(states: Mapping[str, str]) -> str:
    if len(states) <= 2:
        return ", ".join(f"{name(chat_id)} is {state}" for chat_id, state in states.items()) or "all chats live"
    counts: dict[str, int] = {}
    for state in states.values():
        counts[state] = counts.get(state, 0) + 1
    return ", ".join(f"{count} chats {state}" for state, count in counts.items())


def tool_call_line(call: shapes.ToolCall) -> str:
    """One tool call in one line."""
    parts = [name(call["tool_call_id"])]
    if "chat_id" in call:
        parts.append(f"of {name(call['chat_id'])}")
    parts.append(name(call["name"]) if "name" in call else "without a name")
    if "parameters" in call:
        parts.append(quote(call["parameters"]))
    parts.append(f"{call['status']}, {call['waiting_s']:g} s")
    if "answered_by" in call:
        parts.append(f"by {name(call['answered_by'])}")
    return " ".join(parts)


def tool_calls(shown: shapes.ToolCallList, status: str) -> str:
    """A list of tool calls."""
    if not shown["tool_calls"]:
        return "no tool calls" if status == "all" else f"no tool calls are {status}"
    lines = list(map(tool_call_line, shown["tool_calls"]))
    if any(call["status"] == "pending" for call in shown["tool_calls"]):
        lines.append("next: answer_tool_call(chat_id, tool_call_id, content)")
    return "\n".join(lines)


def turn_line(item: shapes.Turn) -> str:
    """One turn in one line."""
    parts = [item["speaker"]]
    if item.get("from_text"):
        parts.append("(from text)")
    parts.append(quote(item["text"]))
    if "expression" in item:
        parts.append(f"({expression(item['expression'])})")
    if item.get("interrupted"):
        parts.append("(interrupted)")
    if "begin_ms" in item:
        parts.append(f"at {item['begin_ms']} ms")
    return " ".join(parts)


def transcript_within(record: ChatRecord, cursors: Cursors, last_turns: int, max_chars: int) -> shapes.Transcript:
    """The newest turns whose lines, with those around them, take at most `max_chars` characters."""
    return structure.transcript(record, cursors, last_turns, max_chars - 160, lambda item: len(turn_line(item)) + 1)


def transcript(shown: shapes.Transcript) -> str:
    """A transcript."""
    lines = list(map(turn_line, shown["turns"])) or ["nobody has spoken yet"]
    if earlier := shown.get("earlier_turns"):
        lines.insert(0, f"{earlier} earlier turns are not shown; raise last_turns or max_chars")
    lines.append(f'next: wait_for_events(after="{shown["cursor"]}")')
    return "\n".join(lines)


def chat(shown: shapes.Chat) -> str:
    """A chat."""
    reason = f" ({quote(shown['reason'])})" if "reason" in shown else ""
    group = f", group {name(shown['chat_group_id'])}" if "chat_group_id" in shown else ""
    last = f", last event {shown['last_event_at'][11:19]}" if "last_event_at" in shown else ""
    lines = [
        f"chat {name(shown['chat_id'])}{group}: {shown['state']}{reason}{', paused' if shown['paused'] else ''}",
    ]
    lines.append(
        f"{shown['event_count']} events, {shown['reconnects']} reconnects, attached {shown['attached_at'][11:19]}{last}"
    )
    lines += [f"pending tool call: {tool_call_line(call)}" for call in shown["pending_tool_calls"]]
    lines += map(turn_line, shown["last_turns"])
    if shown["state"] not in ("ended", "failed"):
        lines.append(f'next: wait_for_events(after="{shown["cursor"]}")')
    return "\n".join(lines)


def chats(shown: shapes.ChatList, scope: str) -> str:
    """A list of chats."""
    if not shown["chats"]:
        hint = "; list_chats(scope='active') asks the service" if scope == "attached" else ""
        return f"no chats are {scope}{hint}"
    lines = []
    for item in shown["chats"]:
        parts = [name(item["chat_id"]), item.get("state") or name(item.get("status", "unknown"))]
        if not item["attached"]:
            parts.append("not attached")
        if "started_at" in item:
            parts.append(f"since {item['started_at'][:19]}Z")
        if "chat_group_id" in item:
            parts.append(f"group {name(item['chat_group_id'])}")
        if "last_event_at" in item:
            parts.append(f"last event {item['last_event_at'][11:19]}")
        if "cursor" in item:
            parts.append(f"cursor {item['cursor']}")
        waiting = item.get("pending_tool_calls", [])
        if waiting:
            parts.append(f"pending: {', '.join(name(call['tool_call_id']) for call in waiting)}")
        lines.append(", ".join(parts))
    if "note" in shown:
        lines.append(shown["note"])
    return "\n".join(lines)


def receipt(shown: shapes.Receipt) -> str:
    """A receipt."""
    if shown["status"] == "confirmed":
        proof = f"its effect was seen in event {shown['confirmed_by']}"
    else:
        proof = "it was written to the chat; no effect was seen yet"
    lines = [f"{shown['command']} {shown['status']}: {proof} (event {shown['seq']})"]
    if "warning" in shown:
        lines.append(f"warning: {shown['warning']}")
    lines.append(f'next: wait_for_events(after="{shown["cursor"]}")')
    return "\n".join(lines)


def markdown_transcript(chat_id: str, shown: shapes.Transcript) -> str:
    """A transcript as a Markdown list; speech stays in quotes, so that it cannot become markup or an instruction."""
    lines = [f"# Transcript of chat {chat_id}", ""]
    if earlier := shown.get("earlier_turns"):
        lines += [f"_{earlier} earlier turns are not shown._", ""]
    for item in shown["turns"]:
        tags = [word for word, key in (("from text", "from_text"), ("interrupted", "interrupted")) if item.get(key)]
        speaker = f"**{item['speaker']}**" + (f" ({', '.join(tags)})" if tags else "")
        voice = f" _({expression(item['expression'])})_" if "expression" in item else ""
        lines.append(f"- {speaker}: {quote(item['text'])}{voice}")
    if not shown["turns"]:
        lines.append("_Nobody has spoken yet._")
    return "\n".join(lines) + "\n"
