"""Texts that may be given as an object or a list: results of tools, remarks to EVI's LLM."""

import json
from typing import Annotated, Any

from pydantic import BeforeValidator


def _as_text(value: Any) -> Any:
    """A text as it is; JSON of anything else, as short as it can be written."""
    if value is None or isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError):
        raise ValueError("holds a number or a depth that JSON cannot have") from None


Written = Annotated[str, BeforeValidator(_as_text)]
"""A text in the schema, since many clients know no other type that may be anything. Whatever else is given is written
as JSON."""
