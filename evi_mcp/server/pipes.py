"""stdin and stdout, read and written so that neither ever holds the event loop or the end of the process.

Where they are pipes or sockets, the event loop does it. Elsewhere (a terminal, a file, one pipe for stdout and stderr,
Windows) threads do, which a process may leave behind. The SDK's own reader and writer are threads that nothing can
interrupt (python-sdk #3551), and each answer would wait for one.
"""

import asyncio
import os
import select
import stat
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from typing import NamedTuple, Protocol

import anyio
from anyio import to_thread

from evi_mcp.writer import write_all

MAX_LINE = 16 * 2**20
"""The longest line of stdin that is read, in bytes."""
MAX_AHEAD = 4 * 2**20
"""Bytes of whole lines that wait to be looked at; beyond, stdin is not read."""
KEPT_OF_BEGINNING, KEPT_OF_END = 2**20, 4096
"""What is kept of a line that is too long, so that its id can be found."""
LOOK_FOR_END_S = 0.1
"""How often the end of stdin is looked for while it is not read."""
_READ_AT_ONCE = 64 * 1024
_POLL_GONE = getattr(select, "POLLRDHUP", 0)


class TooLong(NamedTuple):
    """The two ends of a line that is longer than `MAX_LINE`."""

    beginning: bytes
    end: bytes


class Lines(Protocol):
    """Lines of a client, without their ends; iterate over it once."""

    def __aiter__(self) -> AsyncIterator[bytes | TooLong]: ...

    def ahead(self) -> Iterable[bytes | TooLong]:
        """Those that have arrived and come next."""
        ...


class Input(asyncio.Protocol):
    """The lines of stdin, without their ends; iterate over it once.

    Args:
        on_end: Called as soon as the client has closed stdin, however many lines of it are still to be read.
    """

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._lines: deque[bytes | TooLong] = deque()
        self._ahead = 0
        self._parts: list[bytes] = []  # of the line that has no end yet
        self._size = 0
        self._tail = b""  # of it, once it is too long
        self._ended = False
        self._news = asyncio.Event()
        self._source: _Pausable | None = None
        self._paused = False

    def __aiter__(self) -> "Input":
        return self

    async def __anext__(self) -> bytes | TooLong:
        while not self._lines:
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        line = self._lines.popleft()
        self._ahead -= _size_of(line)
        if self._paused and self._ahead <= MAX_AHEAD and self._source is not None:
            self._paused = False
            self._source.resume_reading()
        return line

    def ahead(self) -> Iterable[bytes | TooLong]:
        """As `Lines.ahead`."""
        return self._lines

    def end(self) -> None:
        """No more is read, not even what waits."""
        self._ended = True
        self._lines.clear()
        self._news.set()

    # Of the protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.reads_from(transport)  # type: ignore[arg-type]  # asyncio does not say that it is a ReadTransport

    def reads_from(self, source: "_Pausable") -> None:
        """What is paused while too much waits."""
        self._source = source

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        *whole, rest = data.split(b"\n")
        for part in whole:
            self._add(part)
            self._finish()
        self._add(rest)
        if self._ahead > MAX_AHEAD and not self._paused and self._source is not None:
            self._paused = True
            self._source.pause_reading()
            self._look_for_end()

    def eof_received(self) -> None:
        if not self._ended:
            self._finish()  # the last line may have no end
            self._ended = True
            self._on_end()

    def connection_lost(self, exc: Exception | None) -> None:
        self.eof_received()

    def _add(self, part: bytes) -> None:
        if self._size <= MAX_LINE < self._size + len(part):
            kept = b"".join([*self._parts, part])
            self._parts, self._tail = [kept[:KEPT_OF_BEGINNING]], kept[-KEPT_OF_END:]
        elif self._size > MAX_LINE:
            self._tail = (self._tail + part)[-KEPT_OF_END:]
        elif part:
            self._parts.append(part)
        self._size += len(part)

    def _finish(self) -> None:
        beginning = b"".join(self._parts)
        line = TooLong(beginning, self._tail) if self._size > MAX_LINE else beginning
        self._parts, self._size, self._tail = [], 0, b""
        self._lines.append(line)
        self._ahead += _size_of(line)
        self._news.set()

    def _look_for_end(self) -> None:
        """While nothing is read, nobody says that the client has gone."""
        if not self._paused or self._ended:
            return
        if _is_hung_up():
            self._on_end()
        else:
            asyncio.get_running_loop().call_later(LOOK_FOR_END_S, self._look_for_end)


class _Pausable(Protocol):
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


async def open_stdin(on_end: Callable[[], None]) -> Input:
    """stdin, whatever it is. `on_end` as for `Input`."""
    read = Input(on_end)
    if _is_pipe(0):
        pipe = os.fdopen(os.dup(0), "rb", 0)
        await asyncio.get_running_loop().connect_read_pipe(lambda: read, pipe)
    else:
        _ReadingThread(read)
    return read


class _ReadingThread:
    """Reads stdin where the event loop cannot. It waits until what it has read was taken."""

    def __init__(self, protocol: Input) -> None:
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._taken = threading.Event()
        self._may_read = True
        protocol.reads_from(self)
        threading.Thread(target=self._run, name="stdin", daemon=True).start()

    def pause_reading(self) -> None:
        self._may_read = False

    def resume_reading(self) -> None:
        self._may_read = True
        self._taken.set()

    def _run(self) -> None:
        data = b"-"
        with suppress(RuntimeError):  # the loop is closed
            while data:
                data = _read(0)
                self._taken.clear()
                self._loop.call_soon_threadsafe(self._deliver, data)
                self._taken.wait()

    def _deliver(self, data: bytes) -> None:
        if not data:
            self._protocol.eof_received()
            return
        self._protocol.data_received(data)
        if self._may_read:
            self._taken.set()


class Output(Protocol):
    """stdout: lines go out whole and in order."""

    async def write(self, line: bytes) -> None:
        """Returns when the client has taken the line, or has gone: then it is dropped. Only the caller waits."""
        ...


async def open_stdout(on_end: Callable[[], None]) -> Output:
    """stdout, whatever it is. `on_end` is called when the client reads no more and never will."""
    # A log on the same pipe would find it full where it now waits; so would stdin's other direction, one socket.
    if not _is_pipe(1) or _same(0, 1) or _same(1, 2):
        return _WritingThread(os.dup(1), on_end)
    out, pipe = _Pipe(on_end), os.fdopen(os.dup(1), "wb", 0)
    await asyncio.get_running_loop().connect_write_pipe(lambda: out, pipe)
    return out


class _Pipe(asyncio.BaseProtocol):
    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._taken = asyncio.Event()
        self._taken.set()
        self._gone = False
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.set_write_buffer_limits(high=0)  # else the last lines could be lost with the process
        self._transport = transport

    def pause_writing(self) -> None:
        self._taken.clear()

    def resume_writing(self) -> None:
        self._taken.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        self._taken.set()
        self._on_end()

    async def write(self, line: bytes) -> None:
        if not self._gone and self._transport is not None:
            self._transport.write(line)
            await self._taken.wait()


class _WritingThread:
    def __init__(self, descriptor: int, on_end: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._on_end = on_end
        self._gone = False
        self._turn = anyio.Lock()

    async def write(self, line: bytes) -> None:
        async with self._turn:
            if self._gone:
                return
            try:
                await to_thread.run_sync(write_all, self._descriptor, line, abandon_on_cancel=True)
            except OSError:
                self._gone = True
                self._on_end()


def _is_pipe(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return sys.platform != "win32" and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))


def _same(one: int, other: int) -> bool:
    try:
        return os.path.sameopenfile(one, other)
    except OSError:  # one of them is closed
        return False


def _is_hung_up() -> bool:
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(0, _POLL_GONE)
    return bool(poll.poll(0))


def _read(descriptor: int) -> bytes:
    """What there is next; nothing at the end."""
    while True:
        try:
            return os.read(descriptor, _READ_AT_ONCE)
        except BlockingIOError:  # another process has made it so
            select.select([descriptor], [], [])
        except OSError:
            return b""


def _size_of(line: bytes | TooLong) -> int:
    return len(line) + 64 if isinstance(line, bytes) else len(line.beginning)
