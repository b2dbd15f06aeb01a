"""Removing secrets from what EVI echoes, before it is stored, logged or shown.

`session_settings` may come inbound with `language_model_api_key` in it (Python SDK, December 2025).
Names that only look like secrets are redacted too, since the set of fields is open.
"""

import re
from typing import Any

REDACTED = "[redacted]"
TOO_DEEP = "[nested too deeply]"
MAX_DEPTH = 32
"""Values below are not kept: nothing of EVI's nests so deeply, and what does cannot be serialised again."""

_SECRET_NAME = re.compile(
    r"((api|private)[_-]?key|secret|token|password|passwd|authorization|credential|jwt|bearer)s?$|^key$", re.IGNORECASE
)


def redact(value: Any, depth: int = 0) -> Any:
    """A copy in which every non-empty value under a secret's name is `[redacted]`."""
    if depth > MAX_DEPTH and isinstance(value, (dict, list)):
        return TOO_DEEP
    if isinstance(value, dict):
        return {
            key: REDACTED if item and isinstance(key, str) and _SECRET_NAME.search(key) else redact(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [redact(item, depth + 1) for item in value]
    return value
