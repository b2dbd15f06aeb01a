"""A base class for services that are open as long as their `async with` block, and so are their parts."""

from abc import ABC, abstractmethod
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self


class Opened(ABC):
    """A service that opens its parts in `_open`, and closes them in reverse order."""

    _exit: AsyncExitStack | None = None

    @abstractmethod
    async def _open(self, stack: AsyncExitStack) -> None:
        """Enters every part on the stack. If it raises, the parts that are open are closed."""

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._open(stack)
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._exit is not None
        if isinstance(exc, Exception):
            await self._exit.aclose()  # without the error: a task group would wrap it, and hide what went wrong
            return None
        return await self._exit.__aexit__(exc_type, exc, traceback)
