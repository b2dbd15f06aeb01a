"""Events as one page shows them: each is rendered once, then measured, and perhaps shown.

A page is measured before it is made, since what does not fit has to wait for the next one.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from msgspec.structs import replace

from evi_mcp.chat.events import Event
from evi_mcp.quoting import quote
from evi_mcp.views import shapes, structure
from evi_mcp.views.lines import event_words

SHORT_ID = 8
LONGEST_PAGE = 50_000
"""No page has more characters, so what is longer need not be written to know that it does not fit."""
_CUT_FIELDS = ("text", "parameters", "content", "error", "reason", "name", "tool_call_id", "code", "slug")


class _Rendered(NamedTuple):
    shown: shapes.Event
    words: str


class Rendering:
    """The events of a page.

    Args:
        with_chat_id: Whether the page is about more than one chat.
        in_full: With the ids of messages and their place in the audio.
    """

    def __init__(
        self, *, with_chat_id: bool, in_full: bool = False, voice_of: structure.VoiceOf = structure.own_voice
    ) -> None:
        self._with_chat_id, self._in_full, self._voice_of = with_chat_id, in_full, voice_of
        self._rendered: dict[Event, _Rendered] = {}

    def _of(self, item: Event) -> _Rendered:
        found = self._rendered.get(item)
        if found is None:
            shown = structure.event(item, with_chat_id=self._with_chat_id, voice_of=self._voice_of)
            found = self._rendered[item] = _Rendered(shown, event_words(shown, in_full=self._in_full))
        return found

    def structures(self, items: Iterable[Event]) -> list[shapes.Event]:
        """Each event as a structure."""
        return [self._of(item).shown for item in items]

    def length(self, item: Event) -> int:
        """How many characters an event takes in the text, its line break included; of very long ones, at least."""
        for field in _CUT_FIELDS:
            if len(text := getattr(item, field) or "") > LONGEST_PAGE:
                return len(text)
        shown, words = self._of(item)
        return len(_line(shown, words, shown.get("chat_id", ""), shown["at"][11:19])) + 1

    def lines(self, items: Iterable[Event]) -> Iterator[str]:
        """A line for each event, whole.

        What a line repeats of those before it is shortened: within a minute the time is `:SS`, and of a chat's id come
        the first 8 characters, if those are the chat's alone on this page.
        """
        rendered = [self._of(item) for item in items]
        minute = ""
        starts = Counter(chat_id[:SHORT_ID] for chat_id in {shown.get("chat_id", "") for shown, _ in rendered})
        seen: set[str] = set()
        for shown, words in rendered:
            chat_id = whole = shown.get("chat_id", "")
            if chat_id in seen and starts[chat_id[:SHORT_ID]] == 1 and len(chat_id) > SHORT_ID + 1:
                chat_id = f"{chat_id[:SHORT_ID]}…"
            time = shown["at"][11:19]
            yield _line(shown, words, chat_id, time if time[:5] != minute else time[5:])
            minute = time[:5]
            seen.add(whole)

    def fit(self, item: Event, room: int) -> Event:
        """The event, its longest fields cut to make its line fit into `room` characters; `left_out` counts the rest."""
        # No line holds more characters than it has room for, and quoting what cannot stay takes its time.
        long = {field: len(value) - room for field in _CUT_FIELDS if len(value := getattr(item, field) or "") > room}
        if long:
            cuts: dict[str, Any] = {field: getattr(item, field)[:room] for field in long}
            item = replace(item, **cuts, left_out=sum(long.values()))
        for _ in range(20):
            over = self.length(item) - room
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


def _line(shown: shapes.Event, words: str, chat_id: str, time: str) -> str:
    """One line; `chat_id` and `time` as they are to be shown."""
    mark = "*" if shown.get("replayed") else ""
    return f"[{shown['seq']}{mark} {time}] {chat_id}{' ' if chat_id else ''}{words}"
