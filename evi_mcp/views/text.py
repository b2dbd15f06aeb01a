"""Results as text, in short lines that end with the next call to make, complete and for the same chats."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from evi_mcp.chat.events import CHAT_STATE, COMMAND, PROTOCOL_FAULT
from evi_mcp.chat.record import ChatRecord
from evi_mcp.ledger.cursors import Cursors
from evi_mcp.protocol.lifecycle import OVER, State
from evi_mcp.protocol.messages import KNOWN_TYPES
from evi_mcp.quoting import name, quote
from evi_mcp.views import shapes, structure
from evi_mcp.views.lines import expression, score_name, tool_call_line, turn_line

MANY = 3
"""From so many chats on, a call is shown without repeating their ids."""

KNOWN_EVENTS = frozenset({*KNOWN_TYPES, CHAT_STATE, COMMAND, PROTOCOL_FAULT})


def page(shown: shapes.EventPage, events: Iterable[str], *, chat_ids: Sequence[str], types: Sequence[str]) -> str:
    """A page of `read_events`, or of `wait_for_events`, which says what woke it.

    Args:
        events: The lines of its events.
        chat_ids: The chats that were asked for; none for all.
        types: The types that were asked for; none for all that are shown.
    """
    woken = "woken_by" in shown
    lines = ["; ".join(_head(shown, asked=bool(types)))]
    if gap := shown.get("gap"):
        what = "this server restarted" if gap["reason"] == "restarted" else "the log was full"
        lines.append(f"gap: {gap['reason']}, {what}; the oldest event kept is {gap.get('oldest_seq', 'none')}")
    lines += events
    if "note" in shown:
        lines.append(f"note: {shown['note']}")
    if not shown["more"] and shown["state"] and all(state in OVER for state in shown["state"].values()):
        lines.append("nothing more will come of what is over; detach_chat drops its log")
    elif woken or shown["more"]:
        lines.append(
            f"{'more' if shown['more'] else 'next'}: the same call with after={chr(34)}{shown['cursor']}{chr(34)}"
        )
    else:
        lines.append(f"next: {next_call('wait_for_events', shown['cursor'], chat_ids=chat_ids, types=types)}")
    return "\n".join(lines)


def _head(shown: shapes.EventPage, *, asked: bool) -> Iterator[str]:
    """What is to be said of a page before its events."""
    wait = cast(Mapping[str, Any], shown)
    where = wait.get("triggered_by", {})
    place = f" in {name(where['chat_id'])}" if "chat_id" in where else ""
    if "trigger" in wait:
        event = f", event {where['seq']}" if "seq" in where else ""
        call = f", call {name(where['tool_call_id'])}" if "tool_call_id" in where else ""
        yield f"woken by trigger {wait['trigger']['kind']}{place}{event}{call}"
    elif "woken_by" in wait:
        yield f"woken by {wait['woken_by']}{place}" + (f" ({wait['reason']})" if "reason" in wait else "")
    else:
        yield counted(len(shown["events"]), "event")
    if states := _states(shown["state"]):
        yield states
    if omitted := shown.get("omitted"):
        yield _left_out(omitted, asked=asked)


def unknown_types(types: Sequence[str]) -> str | None:
    """What is to be said of types that nobody knows; `None` if all are known."""
    unknown = [kind for kind in types if kind not in KNOWN_EVENTS]
    if not unknown:
        return None
    return f"no such type is known: {_listed(unknown)}; known are {', '.join(sorted(KNOWN_EVENTS))}"


def next_call(tool: str, cursor: str, *, chat_ids: Sequence[str] = (), types: Sequence[str] = ()) -> str:
    """A call as an agent would write it, with its scope, which is that of the cursor too."""
    arguments = []
    if tool == "read_events":
        arguments.append(f'chat_id="{chat_ids[0]}"')
    elif chat_ids:
        arguments.append(f"chat_ids=[{_listed(chat_ids)}]")
    if types:
        arguments.append(f"types=[{_listed(types)}]")
    return f"{tool}({', '.join([*arguments, f'after={chr(34)}{cursor}{chr(34)}'])})"


def _listed(texts: Sequence[str]) -> str:
    return ", ".join(quote(text, 80) for text in texts) if len(texts) <= MANY else "the same as before"


def _left_out(omitted: Mapping[str, int], *, asked: bool) -> str:
    """What is not on a page: types that were not asked for, or what is hidden unless it is asked for."""
    if not asked:
        return f"{sum(omitted.values())} hidden"
    counts = [f"{number} {name(kind)}" for kind, number in omitted.items()]
    rest = f" and {counted(len(counts) - 5, 'more type')}" if len(counts) > 5 else ""
    return f"not asked for: {', '.join(counts[:5])}{rest}"


def counted(number: int, word: str) -> str:
    """`1 event`, `2 events`."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def _states(states: Mapping[str, str]) -> str:
    """The chats that are not live; nothing if all are."""
    others = {chat_id: state for chat_id, state in states.items() if state != State.LIVE}
    if len(states) == 1:
        return ", ".join(others.values())
    if len(others) <= MANY:
        return ", ".join(f"{name(chat_id)} is {state}" for chat_id, state in others.items())
    counts = Counter(others.values())
    return ", ".join(f"{counted(count, 'chat')} {state}" for state, count in counts.items())


def tool_calls(shown: shapes.ToolCallList, status: str) -> str:
    """A list of tool calls."""
    if not shown["tool_calls"]:
        return "no tool calls" if status == "all" else f"no tool calls are {status}"
    lines = list(map(tool_call_line, shown["tool_calls"]))
    if rest := shown.get("not_shown"):
        lines.append(f"{rest} more are not shown; name a chat_id or a status")
    if any(call["status"] == "pending" for call in shown["tool_calls"]):
        lines.append("next: answer_tool_call(chat_id, tool_call_id, content)")
    return "\n".join(lines)


def transcript_within(record: ChatRecord, cursors: Cursors, last_turns: int, max_chars: int) -> shapes.Transcript:
    """The newest turns whose lines, with those around them, take at most `max_chars` characters."""
    return structure.transcript(record, cursors, last_turns, max_chars - 160, lambda item: len(turn_line(item)) + 1)


def transcript(chat_id: str, shown: shapes.Transcript) -> str:
    """A transcript."""
    lines = list(map(turn_line, shown["turns"])) or ["nobody has spoken yet"]
    if earlier := shown.get("earlier_turns"):
        lines.insert(0, f"{counted(earlier, 'earlier turn')} not shown; raise last_turns or max_chars")
    lines.append(f"next: {next_call('wait_for_events', shown['cursor'], chat_ids=[chat_id])}")
    return "\n".join(lines)


def expressions(shown: shapes.Expressions) -> str:
    """Scores over turns."""
    if not shown["turns"]:
        return f"no expression of the {shown['speaker']}'s voice is known yet"
    lines = [f"the {shown['speaker']}'s voice over {counted(shown['turns'], 'turn')}, oldest first"]
    for score, over in shown["scores"].items():
        series = " ".join(f"{value:g}" for value in over["series"])
        lines.append(f"{score_name(score)}: {series} (mean {over['mean']:g}, change {over['change']:+g})")
    return "\n".join(lines)


def chat(shown: shapes.Chat) -> str:
    """A chat."""
    state = shown["state"]
    if "reason" in shown:
        state += f" ({shown['reason']})"
    if shown["state"] in (State.CONNECTING, State.RECONNECTING):
        state += ", still trying"
    if shown["paused"]:
        until = f"until {shown['resumes_at'][11:19]}" if "resumes_at" in shown else "until resume"
        state += f", paused by this server {until}"
    group = f", group {name(shown['chat_group_id'])}" if "chat_group_id" in shown else ""
    last = f", last event {shown['last_event_at'][11:19]}" if "last_event_at" in shown else ""
    counts = f"{counted(shown['event_count'], 'event')}, {counted(shown['reconnects'], 'reconnect')}"
    lines = [
        f"chat {name(shown['chat_id'])}{group}: {state}",
        f"{counts}, attached {shown['attached_at'][11:19]}{last}",
        *(f"pending tool call: {tool_call_line(call)}" for call in shown["pending_tool_calls"]),
        *map(turn_line, shown["last_turns"]),
    ]
    if shown["state"] not in OVER:
        lines.append(f"next: {next_call('wait_for_events', shown['cursor'], chat_ids=[shown['chat_id']])}")
    return "\n".join(lines)


def detached(shown: shapes.Chat) -> str:
    """A chat that was detached from."""
    if shown.get("reason") != "detached":
        return f"detached from chat {name(shown['chat_id'])}, which was {shown['state']}; its log is dropped"
    lines = [f"detached from chat {name(shown['chat_id'])}: its log here is dropped, the chat itself goes on"]
    if waiting := len(shown["pending_tool_calls"]):
        lines.append(f"{counted(waiting, 'tool call')} in it had no answer from here")
    if shown["paused"]:
        lines.append("warning: EVI is left paused and silent; attach_chat and resume let it speak")
    return "\n".join(lines)


def chats(shown: shapes.ChatList, scope: str) -> str:
    """A list of chats."""
    if not shown["chats"]:
        hint = "; list_chats(scope='active') asks the service" if scope == "attached" else ""
        return f"no chats are {scope}{hint}" + (f"\n{shown['note']}" if "note" in shown else "")
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
    if not all(item["attached"] for item in shown["chats"]):
        lines.append("next: attach_chat(chat_id)")
    return "\n".join(lines)


_MARKUP = re.compile(r"[\\`*_\[\]()<>!#|~&]")


def _no_markup(line: str) -> str:
    """The line as Markdown that reads as it is."""
    return _MARKUP.sub(r"\\\g<0>", line)


_UNSEEN = {
    "session_settings": "it was written to the chat; EVI need not show settings back, so there may be no proof",
    "pause_assistant_message": "it was written to the chat; EVI acknowledges no pause",
    "resume_assistant_message": "it was written to the chat; EVI acknowledges no resume, but will answer what was said",
}


def receipt(shown: shapes.Receipt) -> str:
    """A receipt."""
    if shown["status"] == "confirmed":
        proof = f"its effect was seen in event {shown['confirmed_by']}"
    else:
        proof = _UNSEEN.get(
            shown["command"], "it was written to the chat; no effect was seen yet, do not send it again"
        )
    lines = [f"{shown['command']} {shown['status']}: {proof} (event {shown['seq']})"]
    if "resumes_at" in shown:
        lines.append(f"EVI is resumed by itself at {shown['resumes_at'][11:19]}, if not before")
    if "warning" in shown:
        lines.append(f"warning: {shown['warning']}")
    seen = f'read_events(chat_id="{shown["chat_id"]}", after="{shown["cursor"]}")'
    lines.append(f"next: your wait as before, with the cursor it gave you; {seen} shows what came of this alone")
    return "\n".join(lines)


def markdown_transcript(chat_id: str, shown: shapes.Transcript) -> str:
    """A transcript as a Markdown list; speech stays in quotes, so that it cannot become markup or an instruction."""
    lines = [f"# Transcript of chat {chat_id}", ""]
    if earlier := shown.get("earlier_turns"):
        lines += [f"_{earlier} earlier turns are not shown._", ""]
    for item in shown["turns"]:
        tags = [word for word, key in (("from text", "from_text"), ("interrupted", "interrupted")) if item.get(key)]
        speaker = f"**{item['speaker']}**" + (f" ({', '.join(tags)})" if tags else "")
        speaker = f"{item['at'][11:19]} {speaker}"
        voice = f" _({_no_markup(expression(item['expression']))})_" if "expression" in item else ""
        said = _no_markup(quote(item["text"]))
        lines.append(f"- {speaker}: {said}{voice}")
    if not shown["turns"]:
        lines.append("_Nobody has spoken yet._")
    return "\n".join(lines) + "\n"
