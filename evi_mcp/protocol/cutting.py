"""Cuts long texts and names to what is kept of them, and marks each cut."""

import hashlib
import re

MAX_TEXT = 256 * 1024
"""The longest text of one field that is kept, in characters, not counting the note about a cut."""
MAX_NAME = 256
"""The longest id, name, code or type that is kept, in characters; EVI's have about forty at most."""

_DIGEST_BYTES = 8


def cut_text(text: str) -> str:
    """A text of at most `MAX_TEXT` characters, and a note if it was longer."""
    if len(text) <= MAX_TEXT or (text.endswith(_NOTE_END) and len(text) <= MAX_TEXT + _MAX_NOTE):
        return text
    return with_note(text[:MAX_TEXT], len(text) - MAX_TEXT)


def with_note(kept: str, left_out: int) -> str:
    """A text that was cut, with a note of how many characters were left out."""
    return f"{kept}{_NOTE_BEGIN}{left_out}{_NOTE_END}"


def cut_name(name: str, most: int = MAX_NAME) -> str:
    """A name of at most `most` characters. A longer one ends with a digest of the whole, so that two long names with
    the same beginning stay different."""
    if len(name) <= most:
        return name
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()
    return f"{name[: most - len(digest) - 1]}~{digest}"


def was_cut(name: str) -> bool:
    """Whether `cut_name` has shortened this name."""
    return len(name) == MAX_NAME and _CUT.search(name) is not None


_CUT = re.compile("~[0-9a-f]{16}$")
_NOTE_BEGIN, _NOTE_END = " [cut here: ", " more characters were not kept]"
_MAX_NOTE = len(_NOTE_BEGIN) + len(_NOTE_END) + 8
