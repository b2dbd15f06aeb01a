"""Turns events into lines for a person. No I/O: the screen shows them.

The events are those of the structured results (`views.shapes.Event`); any field but `type` and `at` may be missing.
Speech is shown whole. Other long text is cut, and the line says so.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar, cast

from rich.text import Text

from evi_mcp.quoting import name, plain, quote
from evi_mcp.views import shapes
from evi_mcp.views.lines import expression, given_words

CHAT = "chat"
EARLIER = "earlier"
MOST = 400
"""The most characters of a text that are shown, if it is not speech."""
MAX_VOICES = 100
"""The most messages that are remembered until their expression comes; the oldest is forgotten first."""

_STYLES = {"user": "cyan", "assistant": "green", "error": "bold red", "fault": "red", "agent": "yellow", CHAT: "bold"}
_SPEAKERS = {"user_message": "user", "assistant_message": "assistant"}

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Line:
    """One line: when (`14:03:07`, `earlier` or empty), who or what (at most nine characters), and the rest.

    `interim`: it may still change; the next line with the same label, or about the chat, replaces it.
    """

    when: str
    label: str
    body: Text
    style: str = "blue"
    interim: bool = False


def note(text: str) -> Line:
    """A line in which this program itself says something about the chat."""
    return Line("", CHAT, Text(plain(text)), _STYLES[CHAT])


class Lines:
    """Makes the lines of one chat. Remembers the names of tools, and which messages still wait for their expression."""

    def __init__(self) -> None:
        self._voiceless: dict[str, str | None] = {}  # by message id, its words; `None` once its expression was shown
        self._tools: dict[str, str] = {}  # names by tool call id
        self._last_message: str | None = None

    def of(self, event: Mapping[str, Any]) -> Iterator[Line]:
        """The lines of the next event; none for audio, metadata and ends of turns."""
        kind = event["type"]
        if kind in ("audio_output", "assistant_end", "chat_metadata"):
            return
        if kind in ("assistant_prosody", "user_prosody"):
            yield from self._late_voice(event)
            return
        when = _when(event)
        if kind in _SPEAKERS:
            label = _SPEAKERS[kind]
            yield Line(when, label, _speech(event), _STYLES[label], bool(event.get("interim")))
        else:
            label, body = self._other(kind, event)
            yield Line(when, label, body, _STYLES.get(label, "blue"))
        if event.get("interim"):
            return
        self._last_message = event.get("message_id")
        if scores := event.get("expression"):
            yield _voice(expression(scores))
        if kind == "assistant_message" and self._last_message:
            _remember(self._voiceless, self._last_message, None if scores else event.get("text", ""))

    def _late_voice(self, event: Mapping[str, Any]) -> Iterator[Line]:
        """The expression of an assistant's message, which EVI sends after the message. If other lines came in between,
        it says which message it belongs to."""
        message, scores = event.get("message_id", ""), event.get("expression")
        words = self._voiceless.get(message, "")
        if not scores or words is None:
            return
        if message and message == self._last_message:
            of = ""
        else:
            of = f"voice of {quote(words, 40)}: " if words else "voice of an earlier message: "
        _remember(self._voiceless, message, None)
        yield _voice(of + expression(scores))

    def _other(self, kind: str, event: Mapping[str, Any]) -> tuple[str, Text]:
        """The label and the body of an event that is not speech."""
        match kind:
            case "chat_state":
                return CHAT, Text(_words(name(event.get("state", "unknown")), _bracketed(event.get("reason"))))
            case "tool_call":
                return "tool call", self._tool_call(event)
            case "tool_response" | "tool_error":
                return "answer", self._answer(event)
            case "command":
                return "agent", self._command(event)
            case "user_interruption":
                return "user", Text("cuts in", style="italic")
            case "session_settings":
                return "settings", Text(_settings(event))
            case "error":
                what = _words(*(name(event[key]) for key in ("code", "slug") if key in event))
                return "error", Text(f"{what or 'without a code'}: {plain(event.get('error', ''), MOST)}")
            case "protocol_fault":
                return "fault", Text(plain(event.get("reason", ""), MOST))
            case _:
                return "event", Text(_words(name(kind), plain(event.get("content", ""), MOST)))

    def _tool_call(self, event: Mapping[str, Any]) -> Text:
        call, tool = event.get("tool_call_id", ""), name(event.get("name", "without a name"))
        _remember(self._tools, call, tool)
        body = Text(tool, style="bold")
        body.append(f" {plain(event.get('parameters', ''), MOST)}", style="not bold")
        wants = "needs an answer" if event.get("response_required") else "EVI answers it"
        return body.append(f"  ({wants}, {name(call)})", style="not bold dim")

    def _answer(self, event: Mapping[str, Any]) -> Text:
        body = Text(f"to {self._tool(event)}: ")
        if event["type"] == "tool_error":
            body.append(_words("failed", _bracketed(event.get("error"))) + ": ", style="red")
        body.append(plain(event.get("content", ""), MOST))
        return body.append(f"  ({name(event.get('tool_call_id', ''))})", style="dim")

    def _command(self, event: Mapping[str, Any]) -> Text:
        body = Text(name(event.get("command", "unknown")), style="bold")
        if "tool_call_id" in event:
            body.append(f" to {self._tool(event)}", style="not bold")
        said = [plain(event[key], MOST) for key in ("text", "error", "content") if key in event]
        if "settings" in event:
            said.append(_settings(event))
        body.append(" " + ", ".join(said) if said else "", style="not bold")
        return body.append(f"  (by {name(event['by'])})" if "by" in event else "", style="not bold dim")

    def _tool(self, event: Mapping[str, Any]) -> str:
        """The name of the tool that was called; the id of the call if the name is not known."""
        known = self._tools.get(event.get("tool_call_id", ""))
        return known or name(event.get("name") or event.get("tool_call_id", "a tool call without an id"))


def _speech(event: Mapping[str, Any]) -> Text:
    body = Text(plain(event.get("text", "")), style="dim italic" if event.get("interim") else "")
    given = given_words(cast(shapes.Event, event), name)
    for words in ("quick" if event.get("quick") else "", given):
        if words:
            body.append(f" ({words})", style="dim")
    return body


def _voice(text: str) -> Line:
    """The line below a message that says how it sounded."""
    return Line("", "", Text(text, style="magenta dim"))


def _settings(event: Mapping[str, Any]) -> str:
    return plain(json.dumps(event.get("settings", {}), ensure_ascii=False), MOST)


def _when(event: Mapping[str, Any]) -> str:
    """The local time of day. EVI does not say when the events of the history happened."""
    if event.get("replayed"):
        return EARLIER
    return datetime.fromisoformat(event["at"]).astimezone().strftime("%H:%M:%S")


def _remember(known: dict[str, V], key: str, value: V) -> None:
    known.pop(key, None)
    known[key] = value
    if len(known) > MAX_VOICES:
        del known[next(iter(known))]


def _bracketed(reason: str | None) -> str:
    return f"({plain(reason, MOST)})" if reason else ""


def _words(*words: str) -> str:
    return " ".join(filter(None, words))
