"""Shows text from outside so that it can neither act nor hide.

A caller can say, and a service can send, anything: a line break followed by something that looks like an event line, a
right-to-left override, invisible tag characters that a model reads and a person does not. `quote()` turns it into
one printable line in double quotes, for the server's own text. `visible()` does it for structured data.

Both escape the same characters: control and format characters (bidirectional marks, zero-width characters, tags),
surrogates, private use, unassigned code points, line and paragraph separators, and the few others that show nothing.
Ordinary spaces, accents, other scripts and emoji stay.
"""

import json
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
# Cc control, Cf format, Cs surrogates, Co private use, Cn unassigned, Zl and Zp line and paragraph separators.
_ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters, marks and symbols that show nothing: fillers, blanks, and variation selectors, which can carry hidden bytes
# as tags do. Source: Default_Ignorable_Code_Point of the Unicode Character Database, and its blank glyphs.
_DRAWN_AS_NOTHING = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U00016fe4\U0001d159\U000e0100-\U000e01ef]"
)
_BREAKS = re.compile(r"[\t\n\r]+")
_BEGINS_AS_JSON = re.compile(r'\s*[\[{"]')
_MOST_KNOWN = 8192
"""How many characters a table remembers. A full table is cleared: a hostile text may use every character there is."""


def is_invisible(character: str) -> bool:
    """Whether a character shows nothing, or acts instead of showing something. Line feeds and tabs count."""
    return unicodedata.category(character) in _ESCAPED_CATEGORIES or bool(_DRAWN_AS_NOTHING.match(character))


class _Forms(dict[int, str]):
    """For `str.translate`: maps each code point to the form that is shown. A form is computed at its first use.

    Args:
        given: The forms of characters that need one of their own.
        as_json: Whether to escape invisible characters as JSON does; otherwise as `\\u{202e}`.
    """

    def __init__(self, given: dict[str, str], *, as_json: bool = False) -> None:
        super().__init__()
        self._given, self._as_json = given, as_json

    def __missing__(self, code: int) -> str:
        if len(self) >= _MOST_KNOWN:
            self.clear()
        form = self[code] = self._form(chr(code))
        return form

    def _form(self, character: str) -> str:
        if (given := self._given.get(character)) is not None:
            return given
        if not is_invisible(character):
            return character
        return json.dumps(character)[1:-1] if self._as_json else f"\\u{{{ord(character):x}}}"


_IN_QUOTES = _Forms({"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"})
_FOR_PEOPLE = _Forms({})
_STAYS = {"\n": "\n", "\t": "\t", "\r": "\n"}
_IN_DATA = _Forms(_STAYS)
_IN_JSON_TEXT = _Forms(_STAYS, as_json=True)


def quote(text: str, most: int | None = None) -> str:
    """The text as one quoted, printable line: without a line break, and with no unescaped double quote inside.

    Args:
        text: Anything, lone surrogates included.
        most: The most characters of `text` to show; the count of the others is stated. `None` shows all.
    """
    rest = 0 if most is None else len(text) - most
    if rest > 0:
        text = text[:most]
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        quoted = f'"{text}"'
    else:
        quoted = f'"{text.translate(_IN_QUOTES)}"'
    return f"{quoted} (+{rest} characters)" if rest > 0 else quoted


def beginning(text: str, room: int) -> str:
    """The longest beginning of the text that takes at most `room` characters in quotes, not counting the quotes."""
    return text[: _how_many(text[: max(0, room)], room)]


def ending(text: str, room: int) -> str:
    """The longest ending of the text that takes at most `room` characters in quotes, not counting the quotes."""
    last = text[max(0, len(text) - max(0, room)) :]
    return last[len(last) - _how_many(reversed(last), room) :]


def _how_many(characters: Iterable[str], room: int) -> int:
    taken = accumulate(map(len, map(_IN_QUOTES.__getitem__, map(ord, characters))))
    return bisect_right(list(taken), room)


def plain(text: str, most: int | None = None) -> str:
    """The text as one printable line for a person: as `quote`, without the noise of quotes and backslashes.

    White space that would break the line becomes a blank. Nothing in the result acts on a terminal, but a reader
    cannot see where it ends: use it at the end of a line, or where nobody can mistake it.

    Args:
        text: Anything, lone surrogates included.
        most: As for `quote`.
    """
    rest = 0 if most is None else len(text) - most
    if rest > 0:
        text = text[:most]
    if not (text.isascii() and text.isprintable()):
        text = _BREAKS.sub(" ", text).translate(_FOR_PEOPLE)
    return f"{text} (+{rest} characters)" if rest > 0 else text


def name(text: str, most: int | None = None) -> str:
    """An identifier as it is, if it can only be one, else quoted; `most` as for `quote`."""
    return text if _PLAIN_NAME.fullmatch(text) else quote(text, most)


def visible(value: Any) -> Any:
    """A copy of plain JSON data in which no text and no key holds an invisible character.

    An invisible character becomes `\\u{202e}`. In a text that begins like JSON (`{`, `[` or `"`: the parameters of a
    tool call, an unknown message) it becomes JSON's `\\u202e`, so that the text still parses. Tabs and line feeds stay,
    and every other line end becomes a line feed.
    """
    if isinstance(value, str):
        return value if value.isascii() and value.isprintable() else _visible_text(value)
    if isinstance(value, dict):
        return _visible_fields(value)
    if isinstance(value, (list, tuple)):
        return [visible(item) for item in value]
    return value


def meant(shown: str, ids: Iterable[str]) -> str:
    """The id that `visible` shows as `shown`, which is all that a reader can copy; `shown` if there is none."""
    if "\\u" not in shown:
        return shown
    known = dict.fromkeys(ids)
    return shown if shown in known else next((id for id in known if visible(id) == shown), shown)


def _visible_text(text: str) -> str:
    if text.isprintable() and not _DRAWN_AS_NOTHING.search(text):
        return text
    return text.replace("\r\n", "\n").translate(_IN_JSON_TEXT if _BEGINS_AS_JSON.match(text) else _IN_DATA)


def _visible_fields(fields: dict[Any, Any]) -> dict[Any, Any]:
    shown: dict[Any, Any] = {}
    numbers: dict[str, int] = {}
    for key, item in fields.items():
        name = form = visible(key)
        while name in shown:  # another key looks the same: neither may hide the other
            numbers[form] = numbers.get(form, 1) + 1
            name = f"{form} ({numbers[form]})"
        shown[name] = visible(item)
    return shown
