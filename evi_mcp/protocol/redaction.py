"""Removes secrets from what EVI echoes, before it is stored, logged or shown: by name, by value, and by looks.

`session_settings` may come inbound with `language_model_api_key` in it (Python SDK, December 2025).
Names that only look like secrets are redacted too, since the set of fields is open.
"""

import json
import math
import re
from collections.abc import Iterable
from typing import Any

REDACTED = "[redacted]"
TOO_DEEP = "[nested too deeply]"
MAX_DEPTH = 32
"""Deeper values are not kept: EVI nests nothing so deeply, and deeper values cannot be serialised again."""

SHORTEST_SECRET = 8
"""Shorter values are not searched for: no service has such short keys, and they would match inside ordinary words."""

_SECRET_NAME = re.compile(
    r"((api|private)[_-]?key|secret|token|password|passwd|authorization|credential|jwt|bearer)s?$|^key$", re.IGNORECASE
)


def redact(value: Any, depth: int = 0) -> Any:
    """A copy in which every non-empty value under a secret's name is `[redacted]`, and which can be written as JSON."""
    if depth > MAX_DEPTH and isinstance(value, (dict, list)):
        return TOO_DEEP
    if isinstance(value, dict):
        return {
            key: REDACTED if item and isinstance(key, str) and _SECRET_NAME.search(key) else redact(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [redact(item, depth + 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # Python reads NaN and Infinity, which are no JSON
    return value


class Mask:
    """Removes the values of known secrets from everything that is kept of a chat.

    It works on decoded values, never on the JSON of a frame: a key may equal a word of the protocol (`assistant`) or a
    few digits, and replacing it there would break the frame. A text that is itself JSON is masked value by value, so
    that it stays JSON.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = tuple(secret for secret in secrets if len(secret) >= SHORTEST_SECRET)
        self._escaped = tuple(re.compile("".join(map(_spellings, secret))) for secret in self._secrets)
        self._numbers = tuple(secret for secret in self._secrets if _NUMBER.fullmatch(secret))

    def __repr__(self) -> str:
        return f"<Mask of {len(self._secrets)} secrets>"

    @property
    def has_secrets(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self._secrets)

    def __call__(self, value: Any) -> Any:
        """A copy of plain data without the secrets, names in it included; the same object if there is nothing to mask.

        A text may be or hold JSON in which a secret is written with escapes: `\\/` for `/`, `\\u0073` for `s`.
        """
        if not self._secrets:
            return value
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return {self(key): self(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self(item) for item in value]
        return REDACTED if self.hides(value) else value

    def hides(self, value: Any) -> bool:
        """Whether this is a number that contains a secret which is itself a number."""
        if not self._numbers or type(value) not in (int, float):
            return False
        return any(number in repr(value) for number in self._numbers)

    def fields(self, values: dict[str, Any]) -> dict[str, Any]:
        """The same for fields whose names are our own: only the values are masked. Fast if there are no secrets."""
        if not self._secrets:
            return values
        return {name: self(value) if type(value) in _MASKED else value for name, value in values.items()}

    def results(self, value: Any) -> Any:
        """The same for the arguments and results of tools. A word in small letters stays: there it is the name of a
        field, type, state or role. An agent that sends such a word knows it already."""
        if not self._secrets:
            return value
        if isinstance(value, dict):
            return {self.results(key): self.results(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.results(item) for item in value]
        return value if isinstance(value, str) and _WORD.fullmatch(value) else self(value)

    def said(self, text: str) -> str:
        """The same for a sentence of the service's own, such as an error or a close reason, which may repeat
        credentials that this server does not know. Not for speech: there, what looks like a credential stays."""
        text = self(text)
        if (rest := len(text) - _MAX_SAID) > 0:
            text = f"{text[:_MAX_SAID]} [cut here: {rest} more characters were not kept]"
        return without_credentials(text)

    def _text(self, text: str) -> str:
        masked = self._replaced(text)
        if masked == text or len(text) > _MAX_JSON or text.lstrip()[:1] not in ("{", "["):
            return masked
        try:
            shown = json.dumps(self(json.loads(text)), ensure_ascii=False, separators=(",", ":"))
        except (ValueError, RecursionError):
            return masked
        return masked if self._replaced(shown) != shown else shown  # a secret may span two values

    def _replaced(self, text: str) -> str:
        if "\\" in text:
            for escaped in self._escaped:
                text = escaped.sub(REDACTED, text)
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, REDACTED)
        return text


def without_credentials(text: str) -> str:
    """The text without what looks like a credential: `token=...`, `Authorization: ...`, `Bearer ...`, `sk-...`, the
    password of a URL."""
    for pattern in (_BY_NAME, _BY_SCHEME):
        text = pattern.sub(_unless_a_word, text)
    return _BY_FORM.sub(REDACTED, text)


def _unless_a_word(found: re.Match[str]) -> str:
    """The match, redacted; unchanged if its value is an ordinary word: `token: missing`, `Bearer realm`."""
    before, value = found.groups()
    sure = _ASSIGNED.search(before) or len(value) >= _LONGER_THAN_WORDS
    return f"{before}{REDACTED}" if sure or (len(value) >= SHORTEST_SECRET and _RANDOM.search(value)) else found[0]


_VALUE = rf"(?!{re.escape(REDACTED)})([^\s\"'\\&,;<>(){{}}\[\]]+)"
_BY_NAME = re.compile(
    r"((?:token|key|secret|password|passwd|pwd|credential|authorization|jwt|signature|\bsig)s?"
    rf"[\\\"']{{0,8}}\s{{0,8}}(?:=|:|%3d)\s{{0,8}}[\\\"']{{0,8}}(?:(?:bearer|basic)\s{{1,8}})?){_VALUE}",
    re.IGNORECASE,
)
_BY_SCHEME = re.compile(rf"(\b(?:bearer|basic|token|apikey)\s{{1,8}}){_VALUE}", re.IGNORECASE)
_BY_FORM = re.compile(
    r"\b(?:sk|pk|rk|hk)[-_][A-Za-z0-9_-]{8,}"
    r"|\b(?:gh[a-z]_|github_pat_|xox[a-z]-|glpat-|AKIA|AIza)[A-Za-z0-9_-]{12,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,2}"
    r"|(?<=://)[^\s/@:\"']{0,256}:[^\s/@\"']{1,256}(?=@)"
)
_LONGER_THAN_WORDS = 20
_ASSIGNED = re.compile(r"=|%3d|[\"']$|:\s*(?:bearer|basic)\s+$", re.IGNORECASE)
_RANDOM = re.compile(r"[\d=+]|[a-z][A-Z]")
_MAX_SAID = 16 * 1024
_NUMBER = re.compile(r"[-+.eE\d]+")
_WORD = re.compile(r"[a-z]+(_[a-z]+)*")
_MAX_JSON = 64 * 1024
"""The longest text, in characters, that is read as JSON to be masked; in longer ones the text itself is masked."""


def _spellings(character: str) -> str:
    """A pattern of all ways in which JSON may write a character, also JSON within JSON, up to three layers deep."""
    plain = json.dumps(character, ensure_ascii=False)[1:-1].removeprefix("\\")  # `n` for a line break
    units = character.encode("utf-16-be", "surrogatepass")
    codes = "".join(rf"\\{{1,8}}u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))
    return rf"(?:\\{{0,8}}{re.escape(plain)}|(?i:{codes}))"


_MASKED = frozenset({str, dict, list})
