"""Retry policy as data: how long to wait between attempts to connect."""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from itertools import count

FIRST_DELAY_S = 0.25
LAST_DELAY_S = 30.0


def backoff(rng: random.Random | None = None) -> Iterator[float]:
    """Endless delays in seconds: doubling from 0.25 to 30, each shortened by up to a half at random.

    The jitter keeps many chats that dropped together from coming back together.
    """
    rng = rng or random.Random()
    for attempt in count():
        delay = min(LAST_DELAY_S, FIRST_DELAY_S * 2 ** min(attempt, 10))
        yield max(FIRST_DELAY_S, delay * rng.uniform(0.5, 1.0))


MAX_RETRY_AFTER_S = 3600.0


def retry_after(headers: Sequence[str], now: float) -> float | None:
    """How long a service asks not to be asked again, in seconds, at most an hour; `None` if it does not say.

    Args:
        headers: The values of all `Retry-After` headers: seconds or an HTTP date (RFC 9110, section 10.2.3).
        now: Unix seconds.
    """
    for value in headers:
        text = value.strip()
        if text.isascii() and text.isdigit():
            return min(float(text), MAX_RETRY_AFTER_S)
        try:
            date = parsedate_to_datetime(text)
            at = date.replace(tzinfo=date.tzinfo or UTC).timestamp()
        except (ValueError, TypeError, OverflowError):
            continue
        return min(max(0.0, at - now), MAX_RETRY_AFTER_S)
    return None
