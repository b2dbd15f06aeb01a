"""Removing secrets from what EVI echoes, before it is stored, logged or shown: by name, and by value.

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
"""Values below are not kept: nothing of EVI's nests so deeply, and what does cannot be serialised again."""

SHORTEST_SECRET = 8
"""Shorter values are no keys of a service, and would be found in the middle of ordinary words."""

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
    """Takes the values of known secrets out of whatever is kept of a chat, wherever a service repeats them."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = tuple(secret for secret in secrets if len(secret) >= SHORTEST_SECRET)
        self._escaped = tuple(re.compile("".join(map(_spellings, secret))) for secret in self._secrets)

    def __repr__(self) -> str:
        return f"<Mask of {len(self._secrets)} secrets>"

    def __call__(self, value: Any) -> Any:
        """A copy of plain data without the secrets; the same object if there is nothing to mask.

        Text may be JSON, or hold some, in which a secret is written with escapes: `\\/` for `/`, `\\u0073` for `s`.
        """
        if not self._secrets:
            return value
        if isinstance(value, str):
            if "\\" in value:
                for escaped in self._escaped:
                    value = escaped.sub(REDACTED, value)
            for secret in self._secrets:
                if secret in value:
                    value = value.replace(secret, REDACTED)
            return value
        if isinstance(value, dict):
            return {self(key): self(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self(item) for item in value]
        return value

    def fields(self, values: dict[str, Any]) -> dict[str, Any]:
        """The same for the values of fields, whose names are our own. Quick where nothing is a secret."""
        if not self._secrets:
            return values
        return {name: self(value) if type(value) in _MASKED else value for name, value in values.items()}


def _spellings(character: str) -> str:
    """A pattern of how JSON, perhaps within JSON, may write a character; up to three layers deep."""
    plain = json.dumps(character, ensure_ascii=False)[1:-1].removeprefix("\\")  # `n` for a line break
    units = character.encode("utf-16-be", "surrogatepass")
    codes = "".join(rf"\\{{1,8}}u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))
    return rf"(?:\\{{0,8}}{re.escape(plain)}|(?i:{codes}))"


_MASKED = frozenset({str, dict, list})
