"""Removing secrets from what EVI echoes, before it is stored, logged or shown.

`session_settings` may come inbound with `language_model_api_key` in it (Python SDK, December 2025).
Names that only look like secrets are redacted too, since the set of fields is open.
"""

import re
from typing import Any

REDACTED = "[redacted]"
_SECRET_NAME = re.compile(r"(api[_-]?key|secret|token|password|passwd|authorization|credential)s?$", re.IGNORECASE)


def redact(value: Any) -> Any:
    """A copy in which every non-empty value under a secret's name is `[redacted]`."""
    if isinstance(value, dict):
        return {
            key: REDACTED if item and isinstance(key, str) and _SECRET_NAME.search(key) else redact(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [redact(item) for item in value]
    return value
