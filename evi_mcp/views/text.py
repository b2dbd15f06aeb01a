"""Results as text: short lines. The next call to make is named where it is not the obvious one."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from evi_mcp.chat.events import CHAT_STATE, COMMAND, PROTOCOL_FAULT
from evi_mcp.chat.record import ChatRecord
from evi_mcp.errors import listing
from evi_mcp.ledger.cursors import Cursors
from evi_mcp.protocol.lifecycle import OVER, State
from evi_mcp.protocol.messages import KNOWN_TYPES
from evi_mcp.quoting import name, plain, quote
from evi_mcp.views import shapes, structure
from evi_mcp.views.lines import clock, pending_line, score_name, tool_call_line, turn_line

MANY = 3
"""With more chats than these, a call is shown without repeating their ids."""
JUST_NOW_S = 1.0
"""A tool call on a page that has waited less needs no more than its event."""
CATCHING_UP = ", catching up"
"""Said of a live chat whose history may still be arriving."""

_GAPS = {
    "restarted": "this server restarted",
    "expired": "the log was full",
    "detached": "the chat was detached in between, and what was said in it has come again with its history",
    "before_attach": "the service gives no history, so what was said before the attach is not known",
}

KNOWN_EVENTS = frozenset({*KNOWN_TYPES, CHAT_STATE, COMMAND, PROTOCOL_FAULT})


def page(shown: shapes.EventPage, events: Iterable[str], *, types: Sequence[str]) -> str:
    """A page of `read_events`, or of `wait_for_events`, which says what woke it.

    Args:
        events: The lines of its events.
        types: The types that were asked for; none for all that are shown.
    """
    lines = ["; ".join(_head(shown, asked=bool(types)))]
    if gap := shown.get("gap"):
        lines.append(
            f"gap: {gap['reason']}, {_GAPS[gap['reason']]}; the oldest event kept is {gap.get('oldest_seq', 'none')}"
        )
    lines += events
    lines += _pending(shown)
    lines += _new_chats(cast(Mapping[str, Any], shown))
    if "note" in shown:
        lines.append(f"note: {shown['note']}")
    if shown["more"]:
        lines.append(f"more: the same call with after={chr(34)}{shown['cursor']}{chr(34)}")
    return "\n".join(lines)


def _new_chats(shown: Mapping[str, Any]) -> Iterator[str]:
    """The chats that have begun."""
    if named := [name(chat["chat_id"], 128) for chat in shown.get("new_chats", [])]:
        rest = shown.get("more_new_chats")
        more = f" and {rest} more, which list_chats(scope='active') shows" if rest else ""
        yield f"new, not attached: {', '.join(named)}{more}"


def _pending(shown: shapes.EventPage) -> Iterator[str]:
    """A line for each call that waits, but for one that has just come and is on the page."""
    here = {event.get("tool_call_id") for event in shown["events"] if event["type"] == "tool_call"}
    for call in shown.get("pending_tool_calls", []):
        on_page = call["tool_call_id"] in here
        if not on_page or "deadline_s" in call or call.get("waiting_s", 0.0) >= JUST_NOW_S:
            yield pending_line(call, on_page=on_page)
    if rest := shown.get("more_pending"):
        yield f"{counted(rest, 'more tool call')} pending; list_tool_calls shows all"


def _head(shown: shapes.EventPage, *, asked: bool) -> Iterator[str]:
    """The first line of a page: why it came, which chats are not live, what was left out, and where to go on."""
    wait = cast(Mapping[str, Any], shown)
    where = wait.get("triggered_by", {})
    place = f" in {name(where['chat_id'])}" if "chat_id" in where else ""
    told = {event.get("chat_id"): event.get("state") for event in shown["events"] if event["type"] == CHAT_STATE}
    if "trigger" in wait:
        kind = wait["trigger"]["kind"]
        event = f" [{where['seq']}]" if "seq" in where else ""
        call = f", call {name(where['tool_call_id'])}" if "tool_call_id" in where else ""
        yield f"woken by {kind}{event}{call}{place}"
    elif "woken_by" in wait:
        is_told = told.get(where.get("chat_id")) in OVER
        yield f"woken by {wait['woken_by']}{place}" + (
            f" ({plain(wait['reason'])})" if "reason" in wait and not is_told else ""
        )
    else:
        yield counted(len(shown["events"]), "event")
    states = {
        chat_id: state
        for chat_id, state in shown["state"].items()
        if told.get(chat_id if len(shown["state"]) > 1 else None) != state
    }
    if words := _states(states, shown.get("catching_up", ())):
        yield words
    if omitted := shown.get("omitted"):
        yield _left_out(omitted, asked=asked)
    if arrived := [event["arrived_at"] for event in shown["events"] if "arrived_at" in event]:
        first, last = clock(arrived[0]), clock(arrived[-1])
        yield f"* history, came {first}" + (f" to {last}" if last != first else "")
    yield f"cursor {shown['cursor']}"


def hopeless(scores: Sequence[str]) -> str | None:
    """A sentence on scores that none of the chats has given; `None` if there are none."""
    if not scores:
        return None
    return (
        f"no chat here has ever given {listing(scores, MANY)}, and only EVI scores every voice, with its 48; wait for"
        " text, turn_end or silence instead, or for user_message events until a score comes"
    )


def never_came(types: Sequence[str]) -> str | None:
    """A sentence on types of events that are asked for and have never come; `None` if there are none."""
    return f"no chat has given an event of type {listing(types, MANY)} so far" if types else None


def _left_out(omitted: Mapping[str, int], *, asked: bool) -> str:
    """What is not on a page: types that were not asked for, or events that are hidden unless asked for."""
    if not asked:
        return f"{sum(omitted.values())} hidden"
    counts = [f"{number} {name(kind)}" for kind, number in omitted.items()]
    rest = f" and {counted(len(counts) - 5, 'more type')}" if len(counts) > 5 else ""
    return f"not asked for: {', '.join(counts[:5])}{rest}"


def counted(number: int, word: str) -> str:
    """`1 event`, `2 events`."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def _states(states: Mapping[str, str], catching_up: Collection[str]) -> str:
    """The chats that are not live or still catching up; nothing if there are none."""
    words = {chat_id: state + (CATCHING_UP if chat_id in catching_up else "") for chat_id, state in states.items()}
    others = {chat_id: said for chat_id, said in words.items() if said != State.LIVE}
    if len(states) == 1:
        return ", ".join(others.values())
    if len(others) <= MANY:
        return ", ".join(f"{name(chat_id)} is {said}" for chat_id, said in others.items())
    counts = Counter(others.values())
    return ", ".join(f"{counted(count, 'chat')} {said}" for said, count in counts.items())


def tool_calls(shown: shapes.ToolCallList, status: str) -> str:
    """A list of tool calls."""
    if not shown["tool_calls"]:
        return "no tool calls" if status == "all" else f"no tool calls are {status}"
    lines = list(map(tool_call_line, shown["tool_calls"]))
    if rest := shown.get("not_shown"):
        lines.append(f"{rest} more are not shown; name a chat_id or a status")
    return "\n".join(lines)


def transcript_within(record: ChatRecord, cursors: Cursors, last_turns: int, max_chars: int) -> shapes.Transcript:
    """The newest turns that fit into a text of `max_chars` characters."""
    return structure.transcript(record, cursors, last_turns, max_chars - 160, lambda item: len(turn_line(item)) + 1)


def transcript(shown: shapes.Transcript) -> str:
    """A transcript."""
    lines = list(map(turn_line, shown["turns"])) or ["nobody has spoken yet"]
    if earlier := shown.get("earlier_turns"):
        lines.insert(0, f"{counted(earlier, 'earlier turn')} not shown; raise last_turns or max_chars")
    lines.append(f"cursor {shown['cursor']}")
    return "\n".join(lines)


def expressions(shown: shapes.Expressions) -> str:
    """Scores over turns."""
    if not shown["turns"]:
        return shown.get("note", f"no expression of the {shown['speaker']}'s voice is known yet")
    lines = [f"the {shown['speaker']}'s voice over {counted(shown['turns'], 'turn')}, oldest first"]
    for score, over in shown["scores"].items():
        series = " ".join(f"{value:g}" for value in over["series"])
        lines.append(f"{score_name(score)}: {series} (mean {over['mean']:g}, change {over['change']:+g})")
    return "\n".join(lines)


def chat(shown: shapes.Chat) -> str:
    """A chat."""
    state = shown["state"]
    if shown.get("catching_up"):
        state += CATCHING_UP
    if "reason" in shown:
        state += f" ({plain(shown['reason'])})"
    if shown["state"] in (State.CONNECTING, State.RECONNECTING):
        state += ", still trying"
    if shown["paused"]:
        until = f"until {shown['resumes_at'][11:19]}" if "resumes_at" in shown else "until resume"
        state += f", paused by this server {until}"
    group = f", group {name(shown['chat_group_id'])}" if "chat_group_id" in shown else ""
    source = f" from {name(shown['source'])}" if "source" in shown else ""
    last = f", last event {shown['last_event_at'][11:19]}" if "last_event_at" in shown else ""
    counts = f"{counted(shown['event_count'], 'event')}, {counted(shown['reconnects'], 'reconnect')}"
    lines = [
        f"chat {name(shown['chat_id'])}{group}{source}: {state}",
        f"{counts}, attached {shown['attached_at'][11:19]}{last}",
        *([f"takes only: {', '.join(map(name, shown['supports']))}"] if "supports" in shown else []),
        *(f"pending tool call: {tool_call_line(call)}" for call in shown["pending_tool_calls"]),
        *map(turn_line, shown["last_turns"]),
    ]
    if shown["state"] not in OVER:
        lines.append(f"cursor {shown['cursor']}")
    return "\n".join(lines)


def attached(shown: shapes.Attached) -> str:
    """Chats that were attached at the same time."""
    lines = []
    for item in shown.get("chats", []):
        lines += [line for line in chat(item).splitlines() if not line.startswith("cursor ")]  # one for all of them
    lines += [f"not attached: {name(item['chat_id'], 128)}: {item['reason']}" for item in shown.get("failed", [])]
    if "note" in shown:
        lines.append(f"note: {shown['note']}")
    lines.append(f"cursor {shown['cursor']}")
    return "\n".join(lines)


def detached(shown: shapes.Chat) -> str:
    """What has become of a chat, now that nobody follows it here."""
    if shown.get("reason") != "detached":
        return f"detached from chat {name(shown['chat_id'])}, which was {shown['state']}; its log is dropped"
    lines = [f"detached from chat {name(shown['chat_id'])}: its log here is dropped, the chat itself goes on"]
    if waiting := len(shown["pending_tool_calls"]):
        lines.append(f"{counted(waiting, 'tool call')} in it had no answer from here")
    if shown["paused"]:
        lines.append("warning: EVI is left paused and silent; attach_chat and resume let it speak")
    return "\n".join(lines)


_ABOUT = ("source", "config", "metadata", "first_words")
MAX_ABOUT = 120
"""Characters of each thing that says what a chat of a list is about."""


def chats(shown: shapes.ChatList, scope: str) -> str:
    """A list of chats."""
    if not shown["chats"]:
        hint = "; list_chats(scope='active') asks the service" if scope == "attached" else ""
        return f"no chats are {scope}{hint}" + (f"\n{shown['note']}" if "note" in shown else "")
    lines = []
    for item in shown["chats"]:
        state, about = item.get("state") or name(item.get("status", "unknown"), 64), cast(Mapping[str, str], item)
        parts = [name(item["chat_id"], 128), state + (CATCHING_UP if item.get("catching_up") else "")]
        if not item["attached"]:
            parts.append("not attached")
        parts += [f"{key} {quote(about[key], MAX_ABOUT)}" for key in _ABOUT if key in about]
        if "started_at" in item:
            parts.append(f"since {item['started_at'][:19]}Z")
        if "chat_group_id" in item:
            parts.append(f"group {name(item['chat_group_id'], 128)}")
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


_UNSEEN = {
    "session_settings": "it was written to the chat; EVI need not show settings back, so there may be no proof",
    "pause_assistant_message": "it was written to the chat; EVI acknowledges no pause",
    "resume_assistant_message": "it was written to the chat; EVI acknowledges no resume, but will answer what was said",
}


def receipt(shown: shapes.Receipt) -> str:
    """A receipt."""
    if shown["status"] == "confirmed":
        proof = f"its effect was seen in event {shown['confirmed_by']}"
    elif shown["status"] == "reworded":
        proof = f"other words were spoken, {quote(shown.get('said', ''))}, in event {shown['confirmed_by']}"
    else:
        proof = _UNSEEN.get(
            shown["command"], "it was written to the chat; no effect was seen yet, do not send it again"
        )
    lines = [f"{shown['command']} {shown['status']}: {proof} (event {shown['seq']}, after cursor {shown['cursor']})"]
    if "resumes_at" in shown:
        lines.append(f"EVI is resumed by itself at {shown['resumes_at'][11:19]}, if not before")
    if "warning" in shown:
        lines.append(f"warning: {shown['warning']}")
    lines.append("next: your wait, with the cursor of your last page, so that nothing is skipped")
    return "\n".join(lines)
