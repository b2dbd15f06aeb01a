"""stdin and stdout as the event loop reads and writes them, where they are pipes or sockets.

The SDK's own reader and writer are threads that nothing can interrupt (python-sdk #3551): after a signal the process
would clean up and then sit there until its client closes stdin, or reads. Each answer would wait for a thread, too.
"""

import asyncio
import logging
import os
import stat
import sys
from collections.abc import Callable

MAX_LINE_BYTES = 16 * 2**20
"""The longest line accepted on stdin; a longer one is answered as garbage is."""

_log = logging.getLogger(__name__)


def _is_pipe(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return sys.platform != "win32" and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))


class _Reader(asyncio.StreamReader):
    """Says at once when the client has closed stdin, be there ever so many lines of it still to be read."""

    def __init__(self, on_eof: Callable[[], None]) -> None:
        super().__init__(limit=MAX_LINE_BYTES)
        self._on_eof = on_eof

    def feed_eof(self) -> None:
        super().feed_eof()
        self._on_eof()


class _Lines:
    """Lines of stdin, as the SDK wants them."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def __aiter__(self) -> "_Lines":
        return self

    async def __anext__(self) -> str:
        try:
            line = await self._reader.readline()
        except ValueError:
            _log.warning("a line on stdin is longer than %d bytes and is ignored", MAX_LINE_BYTES)
            return "a line too long to be read\n"  # no JSON, so the SDK answers with a parse error and goes on
        except OSError:
            line = b""
        if not line:
            raise StopAsyncIteration
        if not line.lstrip().startswith((b"{", b"[")):
            _log.warning("a line on stdin is not JSON-RPC and is ignored (%d bytes)", len(line))
        return line.decode("utf-8", errors="replace")


def _same(one: int, other: int) -> bool:
    try:
        return os.path.sameopenfile(one, other)
    except OSError:  # one of them is closed
        return False


async def open_stdin(on_eof: Callable[[], None]) -> _Lines | None:
    """A cancellable stdin, or `None` where there is no such thing. `on_eof` is called when the client closes it."""
    if not _is_pipe(0):
        return None
    reader = _Reader(on_eof)
    pipe = os.fdopen(os.dup(0), "rb", 0)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return _Lines(reader)


class _Out(asyncio.BaseProtocol):
    """stdout, as the SDK wants it: who flushes waits until the client has taken what was written, and nobody else."""

    def __init__(self) -> None:
        self._taken = asyncio.Event()
        self._taken.set()
        self._gone = False
        self._pipe: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.set_write_buffer_limits(high=0)  # else the last lines could be lost with the process
        self._pipe = transport

    def pause_writing(self) -> None:
        self._taken.clear()

    def resume_writing(self) -> None:
        self._taken.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        self._taken.set()

    async def write(self, text: str) -> None:
        """Writes what the pipe takes and keeps the rest.

        Raises:
            BrokenPipeError: The client has gone.
        """
        if self._gone or self._pipe is None:
            raise BrokenPipeError
        self._pipe.write(text.encode("utf-8", "replace"))  # half a surrogate pair must not end the server

    async def flush(self) -> None:
        """Waits until the pipe has taken all. Raises as `write`."""
        await self._taken.wait()
        if self._gone:
            raise BrokenPipeError


async def open_stdout() -> _Out | None:
    """A stdout that blocks nobody, or `None` where there is no such thing.

    From now on file descriptor 1 is stderr, as the SDK has it too: a stray line must not get between the messages.
    """
    # One socket for both directions has something to read, which a pipe that is written to takes for its end; and a
    # log on the same pipe would find it full where it now waits.
    if not _is_pipe(1) or _same(0, 1) or _same(1, 2):
        return None
    out, pipe = _Out(), os.fdopen(os.dup(1), "wb", 0)
    await asyncio.get_running_loop().connect_write_pipe(lambda: out, pipe)
    try:
        os.dup2(2, 1)
    except OSError:  # no stderr either
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return out
