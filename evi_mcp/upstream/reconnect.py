"""Retry policy as data: how long to wait between attempts to connect, and when to stop."""

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from itertools import count

FIRST_DELAY_S = 0.25
LAST_DELAY_S = 30.0
STEADY_S = 1.0
"""A connection that lasted this long restarts the delays, in seconds. Without a minimum, a service that closes right
after the replay would be asked four times a second."""


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
    """How long a service asks clients to wait, in seconds, at most an hour; `None` if it does not say.

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


class Patience:
    """How long to retry the connection to a chat without progress. All times come from one clock, in seconds.

    Args:
        lasts_s: Seconds without progress after which retrying ends.
        delays: Makes the waits between attempts.
        now: The time at which the count begins.
    """

    def __init__(self, lasts_s: float, delays: Callable[[], Iterator[float]], now: float) -> None:
        self._lasts_s, self._delays = lasts_s, delays
        self._waits = delays()
        self._ends = now + lasts_s

    def progress(self, now: float, stood_s: float) -> None:
        """A connection that has lasted `stood_s` seconds so far has brought something of the chat."""
        self._ends = now + self._lasts_s
        if stood_s >= STEADY_S:
            self._waits = self._delays()

    def left_s(self, now: float) -> float:
        """Seconds left to retry without progress; 0 or less if there are none."""
        return self._ends - now

    def next_wait(self, now: float, at_least_s: float | None = None) -> float:
        """Seconds until the next attempt: within the time that is left, unless the service asked for a longer wait.

        Args:
            at_least_s: What the service asked for (`Retry-After`).
        """
        return max(min(next(self._waits), self.left_s(now)), at_least_s or 0.0)
