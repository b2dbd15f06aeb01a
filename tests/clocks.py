"""A clock that a test moves: nothing passes but what the test says."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from anyio.lowlevel import checkpoint

SETTLING_ROUNDS = 50


class HandClock:
    """Both clocks stand still until `advance`; `set_back` changes what is shown and nothing else."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now
        self._elapsed = 1000.0
        self._timers: dict[anyio.CancelScope, float] = {}

    def now(self) -> float:
        return self._now

    def elapsed(self) -> float:
        return self._elapsed

    @contextmanager
    def timeout_at(self, at: float) -> Iterator[anyio.CancelScope]:
        scope = anyio.CancelScope()
        with scope:
            if at <= self._elapsed:
                scope.deadline = -math.inf
            self._timers[scope] = at
            try:
                yield scope
            finally:
                self._timers.pop(scope, None)

    def set_back(self, seconds: float) -> None:
        """Somebody sets the wall clock back."""
        self._now -= seconds

    async def advance(self, seconds: float) -> None:
        """Lets so much time pass, timer by timer, each with all that it sets off."""
        ends = self._elapsed + seconds
        await settle()
        while (due := min(self._timers.values(), default=math.inf)) <= ends:
            self._pass(max(0.0, due - self._elapsed))
            for scope, at in tuple(self._timers.items()):
                if at <= self._elapsed:
                    del self._timers[scope]
                    scope.cancel()
            await settle()
        self._pass(ends - self._elapsed)
        await settle()

    def jump(self, seconds: float) -> None:
        """So much time has passed and no timer was looked at yet."""
        self._pass(seconds)

    def _pass(self, seconds: float) -> None:
        self._elapsed += seconds
        self._now += seconds


async def settle() -> None:
    """Lets everything that can run without time passing run."""
    for _ in range(SETTLING_ROUNDS):
        await checkpoint()
