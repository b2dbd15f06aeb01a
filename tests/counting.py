"""Work as a number that is the same on every machine: how many calls of functions, ours and C's, something takes.

A time would depend on who else is busy. Calls do not count what one call of a built-in does with a long text, which is
quick, but they do count whatever is done for each character in Python.
"""

import sys
from collections.abc import Callable
from typing import Any


def calls_of(work: Callable[[], Any]) -> int:
    """How many functions are called while `work` is done."""
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count
