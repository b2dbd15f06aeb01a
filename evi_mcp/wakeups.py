"""Waking who sleeps: once, for all who wait now (`Signal`), or until it is noticed, for one (`Bell`)."""

import anyio


class Signal:
    """Something that happens again and again. Who waits returns when it happens next."""

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
    """A note to one sleeper that there is something to do. Ringing it often is as good as once."""

    def __init__(self) -> None:
        self._rung = anyio.Event()

    def ring(self) -> None:
        """There is something to do."""
        self._rung.set()

    async def wait(self) -> None:
        """Returns once it was rung, at once if it was since the last time; then it is silent again."""
        await self._rung.wait()
        self._rung = anyio.Event()
