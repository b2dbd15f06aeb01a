"""Moments, and the one format in which times are shown: in events, in the audit log and in the log on stderr."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple


class Moment(NamedTuple):
    """One moment on both clocks (`evi_mcp.clock`): `now` in Unix seconds, to show; `elapsed` in seconds, to measure."""

    now: float
    elapsed: float


def iso(at: float) -> str:
    """Unix seconds as UTC, ISO 8601, cut to the millisecond."""
    milliseconds = round(at * 1_000_000) // 1000
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=64)  # many events share theirs
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().removesuffix("+00:00")
