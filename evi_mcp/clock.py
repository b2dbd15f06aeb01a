"""Time, injected everywhere: a wall clock to show, a monotonic clock to measure, and timers on the monotonic clock.

Use the wall clock (`now`) only to show a time: somebody may set it back. Measure silences, pauses and timeouts with
`elapsed`: nobody can set it, and it counts while the machine sleeps, if the system has such a clock. The event loop's
own timers stop while the machine sleeps, so `SystemClock` corrects them afterwards.

Sources: clock_gettime(2) on CLOCK_BOOTTIME; Apple's clock_gettime(3), whose CLOCK_MONOTONIC counts sleep; PEP 418.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NoReturn, Protocol

import anyio

from evi_mcp.times import Moment

CHECK_S = 1.0
"""How often `SystemClock.run` checks whether the machine has slept, in seconds."""
_JUMP_S = 0.5


class Clock(Protocol):
    """The clock that is injected into all code that shows or measures time."""

    def now(self) -> float:
        """The wall clock, in Unix seconds; for showing only."""
        ...

    def elapsed(self) -> float:
        """Seconds since an arbitrary moment, including the time in which the machine slept."""
        ...

    def timeout_at(self, at: float) -> AbstractContextManager[anyio.CancelScope]:
        """A block that is cancelled once `elapsed()` reaches `at`; `math.inf` for never. As `anyio.move_on_at`."""
        ...


def moment(clock: Clock) -> Moment:
    """This moment on both clocks."""
    return Moment(clock.now(), clock.elapsed())


def timeout(clock: Clock, seconds: float) -> AbstractContextManager[anyio.CancelScope]:
    """A block that is cancelled after this many seconds, as `anyio.move_on_after`."""
    return clock.timeout_at(clock.elapsed() + seconds)


async def sleep_until(clock: Clock, at: float) -> None:
    """Returns once `elapsed()` has reached `at`."""
    with clock.timeout_at(at):
        await anyio.sleep_forever()


async def sleep(clock: Clock, seconds: float) -> None:
    """Returns after this many seconds."""
    await sleep_until(clock, clock.elapsed() + seconds)


def _sleepless_clock() -> Callable[[], float]:
    """The system's clock that counts while the machine sleeps; `time.monotonic` if there is none."""
    if sys.platform == "linux" and hasattr(time, "CLOCK_BOOTTIME"):
        return lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        return lambda: time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.monotonic  # on Windows it counts sleep


class SystemClock:
    """The clocks of this machine. Keep `run` running: it notices that the machine has slept."""

    def __init__(self, elapsed: Callable[[], float] | None = None) -> None:
        self._elapsed = elapsed or _sleepless_clock()
        self._timers: dict[anyio.CancelScope, float] = {}

    def now(self) -> float:
        return time.time()

    def elapsed(self) -> float:
        return self._elapsed()

    @contextmanager
    def timeout_at(self, at: float) -> Iterator[anyio.CancelScope]:
        scope = anyio.CancelScope(deadline=self._deadline(at))
        if at != math.inf:
            self._timers[scope] = at
        try:
            with scope:
                yield scope
        finally:
            self._timers.pop(scope, None)

    async def run(self) -> NoReturn:
        """Corrects the timers after each sleep of the machine; never returns."""
        ahead = self._elapsed() - time.monotonic()
        while True:
            await anyio.sleep(CHECK_S)
            before, ahead = ahead, self._elapsed() - time.monotonic()
            if ahead - before > _JUMP_S:
                for scope, at in self._timers.items():
                    scope.deadline = self._deadline(at)

    def _deadline(self, at: float) -> float:
        return math.inf if at == math.inf else anyio.current_time() + at - self._elapsed()
