"""Events as one page shows them. Each is rendered once, then measured, and shown if it fits.

What does not fit has to wait for the next page.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, cast

from evi_mcp.chat.events import Event
from evi_mcp.chat.pages import MAX_SCANNED, Filter
from evi_mcp.chat.record import ChatRecord
from evi_mcp.chat.tool_calls import OPEN
from evi_mcp.quoting import beginning, name, quote
from evi_mcp.views import shapes, structure
from evi_mcp.views.lines import clock, event_words, offset

SHORT_ID = 8
LONGEST_PAGE = 50_000
"""No page has more characters, so what is longer need not be written to know that it does not fit."""
SHORTEST_CUT = 80
"""A field that takes fewer characters in the text is not cut."""
NOTICE = 60
"""Characters that the text takes to say how many were left out."""
_SPOKEN = frozenset({"user_message", "assistant_message"})
_CUT_FIELDS = ("text", "asked_text", "parameters", "content", "error", "reason", "name", "tool_call_id", "code", "slug")


class _Rendered(NamedTuple):
    item: Event  # held, so that no other event can have its id()
    shown: shapes.Event
    words: str


class Rendering:
    """The events of a page.

    Args:
        with_chat_id: Whether the page is about more than one chat.
        in_full: With the ids of messages and their place in the audio.
        records: What is known of its chats.
    """

    def __init__(self, *, with_chat_id: bool, in_full: bool = False, records: Iterable[ChatRecord] = ()) -> None:
        self._with_chat_id, self._in_full = with_chat_id, in_full
        self._records = {record.chat_id: record for record in records}
        self._rendered: dict[int, _Rendered] = {}

    def _of(self, item: Event) -> _Rendered:
        found = self._rendered.get(id(item))
        if found is None:
            shown = structure.event(item, self._records.get(item.chat_id), with_chat_id=self._with_chat_id)
            found = _Rendered(item, shown, self._words(item, shown))
            self._rendered[id(item)] = found
        return found

    def structures(self, items: Iterable[Event]) -> list[shapes.Event]:
        """Each event as a structure."""
        return [self._of(item).shown for item in items]

    def length(self, item: Event) -> int:
        """How many characters an event takes in the text, its line break included; of a very long one, at least."""
        if id(item) not in self._rendered:
            for field in _CUT_FIELDS:
                if len(text := getattr(item, field) or "") > LONGEST_PAGE:
                    return len(text)
        return _length(self._of(item))

    def before_the_newest(self, newest_first: Iterable[Event], wanted: Filter, limit: int, room: int) -> int:
        """The number after which a page of the newest events begins: `limit` that are shown, or as many as fit.

        Whoever reads a stream again on each update wants what is new, which nothing large or hidden may push out. It
        looks at `MAX_SCANNED` events at most.
        """
        taken = 0
        for looked, event in enumerate(newest_first):
            if looked == MAX_SCANNED:
                return event.seq
            if not wanted.shows(event):
                continue
            room -= self.length(event)
            if taken == limit or (room < 0 and taken):
                return event.seq
            taken += 1
        return 0

    def lines(self, items: Iterable[Event]) -> Iterator[str]:
        """A line for each event, whole.

        What a line repeats of those before it is shortened or left out: within a minute the time is `:SS`, and nothing
        within a second; of a chat's id come the first 8 characters, if those are the chat's alone on this page; and who
        speaks is said once, until somebody else speaks or something else happens. History has no time of day, only the
        place in the call's audio, where that is known.
        """
        rendered = [self._of(item) for item in items]
        last_time, last_speaker = "", ("", "", "")
        starts = Counter(chat_id[:SHORT_ID] for chat_id in {shown.get("chat_id", "") for _, shown, _ in rendered})
        seen: set[str] = set()
        for _, shown, words in rendered:
            chat_id = whole = shown.get("chat_id", "")
            if chat_id in seen and starts[chat_id[:SHORT_ID]] == 1 and len(chat_id) > SHORT_ID + 1:
                chat_id = f"{chat_id[:SHORT_ID]}…"
            time = _time(shown)
            speaker = (whole, shown["type"], shown.get("speaker", ""))
            if shown["type"] in _SPOKEN and speaker == last_speaker:
                words = words.removeprefix(f"{name(shown.get('speaker', shown['type']))} ")
            yield _line(shown, words, chat_id, _since(time, last_time))
            last_time, last_speaker = time, speaker
            seen.add(whole)

    def fit(self, item: Event, room: int) -> None:
        """Shows the event with its longest fields cut, so that its line fits into `room` characters. `left_out` counts
        the characters that are not shown."""
        shown: dict[str, Any] = dict(self._of(item).shown)
        taken: dict[str, int] = {}
        for field in _CUT_FIELDS:
            _cut(shown, field, shown.get(field, "")[:room])  # nothing takes less room in quotes
            taken[field] = len(quote(shown.get(field, "")))
        for _ in _CUT_FIELDS:
            over = self._show(item, shown) - room
            longest = max(taken, key=taken.__getitem__)
            if over <= 0 or taken[longest] < SHORTEST_CUT:
                break
            _cut(shown, longest, beginning(shown[longest], taken[longest] - over - NOTICE - 2))
            taken[longest] = len(quote(shown[longest]))
        if self._show(item, shown) > room and "settings" in shown:
            self._show(item, {**shown, "settings": {"left out": "too long; raise max_chars"}})

    def _show(self, item: Event, shown: dict[str, Any]) -> int:
        """Has the event shown like this; the length of its line."""
        kept = cast(shapes.Event, dict(shown))
        found = self._rendered[id(item)] = _Rendered(item, kept, self._words(item, kept))
        return _length(found)

    def _words(self, item: Event, shown: shapes.Event) -> str:
        record = self._records.get(item.chat_id)
        call = record.tool_calls.numbered(item.seq) if record is not None else None
        return event_words(shown, in_full=self._in_full, is_closed=call is not None and call.status not in OPEN)


def _cut(shown: dict[str, Any], field: str, kept: str) -> None:
    """Shows so much of a field, and counts what is left out of it."""
    if rest := len(shown.get(field, "")) - len(kept):
        shown[field] = kept
        shown["left_out"] = shown.get("left_out", 0) + rest


def _length(rendered: _Rendered) -> int:
    """How many characters an event takes on a page, its line break included."""
    _, shown, words = rendered
    return len(_line(shown, words, shown.get("chat_id", ""), _time(shown))) + 1


def _line(shown: shapes.Event, words: str, chat_id: str, time: str) -> str:
    """One line; `chat_id` and `time` as they are to be shown."""
    mark = "*" if shown.get("replayed") else ""
    head = f"[{shown['seq']}{mark} {time}]" if time else f"[{shown['seq']}{mark}]"
    return f"{head} {chat_id}{' ' if chat_id else ''}{words}"


def _time(shown: shapes.Event) -> str:
    """When it happened, as far as that is known."""
    if "at" in shown:
        return clock(shown["at"])
    return offset(shown["begin_ms"]) if "begin_ms" in shown else ""


def _since(time: str, last: str) -> str:
    """What of a time of day, or of a place in the call, is not said by the line before."""
    if time == last:
        return ""
    return time[5:] if time[:5] == last[:5] and time[2] == ":" and len(time) == len(last) == 8 else time
