"""Wakes tasks: `Signal` wakes all that wait now; `Bell` wakes one, and keeps the ring until that one waits."""

import anyio


class Signal:
    """Something that happens again and again. `wait` returns when it happens next."""

    def __init__(self) -> None:
        self._next = anyio.Event()

    def tell(self) -> None:
        """It has happened."""
        happened, self._next = self._next, anyio.Event()
        happened.set()

    async def wait(self) -> None:
        """Returns when it happens next."""
        await self._next.wait()


class Bell:
    """Tells one task that there is something to do. Ringing twice is the same as once."""

    def __init__(self) -> None:
        self._rung = anyio.Event()

    def ring(self) -> None:
        """There is something to do."""
        self._rung.set()

    async def wait(self) -> None:
        """Returns once the bell has rung since the last `wait`, and resets it."""
        await self._rung.wait()
        self._rung = anyio.Event()
