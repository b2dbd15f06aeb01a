"""Processes of a simulated call, without tasks or a clock.

A process is a generator that does something and then yields what it waits for. Whoever owns the processes steps the
one that is due first: the user speaks while EVI thinks, and every run of it is the same.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wait:
    """Goes on at the time `until`, or as soon as `when()` holds, whichever is first; `None` never comes."""

    until: float | None = None
    when: Callable[[], bool] | None = None


class Process:
    """One activity. It is due at once, and then when the last `Wait` it yielded is over."""

    def __init__(self, steps: Iterator[Wait], now: float) -> None:
        self._steps = steps
        self._wait = Wait(until=now)
        self.over = False

    def due(self, now: float) -> float | None:
        """When the next step is due, in seconds of the call's clock; `None` if only an event can bring it."""
        if self.over:
            return None
        if self._wait.when is not None and self._wait.when():
            return now
        return self._wait.until

    def step(self) -> None:
        """Goes on up to the next wait."""
        try:
            self._wait = next(self._steps)
        except StopIteration:
            self.over = True
