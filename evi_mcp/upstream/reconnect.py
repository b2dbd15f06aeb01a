"""Retry policy as data: how long to wait between attempts to connect."""

import random
from collections.abc import Iterator
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
