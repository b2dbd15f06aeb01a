"""What one check of `evi-mcp doctor` has found."""

from typing import NamedTuple


class Check(NamedTuple):
    """In a line; `fine` is false if something is to be fixed."""

    name: str
    fine: bool
    said: str
