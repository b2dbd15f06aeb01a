"""How words that came from outside are shown in the server's own text.

A caller can say, and a service can send, anything: a line break followed by something that
looks like an event line, a right-to-left override, invisible tag characters that a model
reads and a person does not. Inside `quote()` none of them acts: the result is one line,
starts and ends with a double quote, and has no other unescaped double quote.
"""

import re
import unicodedata

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
# Cc control, Cf format (bidirectional marks, zero-width, tags), Cs surrogates, Co private use, Cn unassigned,
# Zl and Zp line and paragraph separators. Variation selectors (Mn) can carry hidden bytes as tags do.
_ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_HIDDEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_BREAKS = re.compile(r"[\t\n\r]+")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


def _escape(character: str) -> str:
    if short := _SHORT.get(character):
        return short
    if unicodedata.category(character) in _ESCAPED_CATEGORIES or _HIDDEN.match(character):
        return f"\\u{{{ord(character):x}}}"
    return character


def quote(text: str, most: int | None = None) -> str:
    """The text as one quoted, printable line.

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
        quoted = '"' + "".join(map(_escape, text)) + '"'
    return f"{quoted} (+{rest} characters)" if rest > 0 else quoted


def plain(text: str, most: int | None = None) -> str:
    """The text as one printable line for a person: as `quote`, without the noise of quotes and backslashes.

    White space that would break the line becomes a blank. Nothing in it acts on a terminal, but where it ends cannot
    be told from it: it is for a line of which it is the last part, or for what cannot be mistaken.

    Args:
        text: Anything, lone surrogates included.
        most: As for `quote`.
    """
    rest = 0 if most is None else len(text) - most
    if rest > 0:
        text = text[:most]
    if not (text.isascii() and text.isprintable()):
        text = "".join(char if char in '"\\' else _escape(char) for char in _BREAKS.sub(" ", text))
    return f"{text} (+{rest} characters)" if rest > 0 else text


def name(text: str) -> str:
    """An identifier as it is, if it can only be one, else quoted."""
    return text if _PLAIN_NAME.fullmatch(text) else quote(text)
