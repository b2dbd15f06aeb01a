"""stdin and stdout as the server reads and writes them: every line, within bounds, whatever they are."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.server import pipes
from evi_mcp.server.pipes import Input, TooLong, open_stdin, open_stdout

pytestmark = pytest.mark.anyio


class Source:
    """Counts how often it was told to stop."""

    def __init__(self) -> None:
        self.paused = False
        self.pauses = 0

    def pause_reading(self) -> None:
        self.paused = True
        self.pauses += 1

    def resume_reading(self) -> None:
        self.paused = False


async def lines_of(chunks: list[bytes], on_end: Callable[[], None] = lambda: None) -> list[bytes | TooLong]:
    """What is read of stdin that comes in these chunks, and then ends."""
    read = Input(on_end)
    for chunk in chunks:
        read.data_received(chunk)
    read.eof_received()
    return [line async for line in read]


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=5))
def test_lines_are_the_same_however_they_are_cut(data: bytes, cuts: list[int]) -> None:
    """A pipe gives what there is, and that ends in the middle of anything."""
    places = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    chunks = [data[begin:end] for begin, end in pairwise(places)]
    assert asyncio.run(lines_of(chunks)) == data.split(b"\n")


async def test_of_a_line_that_is_too_long_its_ends_are_kept_and_the_next_one_is_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A buffer is bounded, and the id of the request may stand at either end."""
    monkeypatch.setattr(pipes, "MAX_LINE", 1000)
    monkeypatch.setattr(pipes, "KEPT_OF_BEGINNING", 10)
    monkeypatch.setattr(pipes, "KEPT_OF_END", 5)
    long = bytes(range(33, 126)) * 20
    for size in (1, 7, 999, 1000, 1001, len(long)):
        data = b"a\n" + long + b"\n" + b"x" * 1000 + b"\n" + b"y" * 1001 + b"\nb"
        chunks = [data[at : at + size] for at in range(0, len(data), size)]
        assert await lines_of(chunks) == [
            b"a",
            TooLong(long[:10], long[-5:]),
            b"x" * 1000,
            TooLong(b"y" * 10, b"y" * 5),
            b"b",
        ]


async def test_stdin_is_read_no_further_than_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client may write faster than the server answers: the pipe holds it up, and the memory stays."""
    monkeypatch.setattr(pipes, "MAX_AHEAD", 1000)
    monkeypatch.setattr(pipes, "_is_hung_up", lambda: False)
    read, source = Input(lambda: None), Source()
    read.reads_from(source)
    sent = 0
    while not source.paused:
        read.data_received(b"x" * 99 + b"\n")
        sent += 1
    assert sent < 12
    for _ in range(sent):
        await anext(read)
    assert not source.paused and source.pauses == 1


async def test_the_end_of_stdin_is_noticed_while_it_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue: alive after EOF. The client has closed a pipe in which more lies than is read ahead."""
    monkeypatch.setattr(pipes, "MAX_AHEAD", 1000)
    monkeypatch.setattr(pipes, "LOOK_FOR_END_S", 0.01)
    ended = asyncio.Event()
    with standing_in(os.pipe, 0) as client, anyio.fail_after(20):
        read = await open_stdin(ended.set)
        transport = read._source
        os.write(client, b"x\n" * 30_000)
        while not read._paused:
            await anyio.lowlevel.checkpoint()
        assert not ended.is_set()
        os.close(client)
        await ended.wait()
        assert [line async for line in read] == [b"x"] * 30_000 + [b""]
        transport.close()  # type: ignore[union-attr]  # it is one


@contextmanager
def standing_in(make: Callable[[], tuple[int, int]], descriptor: int) -> Iterator[int]:
    """Has one end of a pipe stand in for a standard stream; the other end is the client's."""
    ends = make()
    ours, client = ends if descriptor == 0 else ends[::-1]
    kept = os.dup(descriptor)
    os.dup2(ours, descriptor)
    os.close(ours)
    try:
        yield client
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)
        with suppress(OSError):
            os.close(client)


def sockets() -> tuple[int, int]:
    one, other = socket.socketpair()
    return one.detach(), other.detach()


@pytest.mark.parametrize("make", [os.pipe, sockets])
async def test_who_writes_waits_for_the_client_and_nobody_else_does(make: Callable[[], tuple[int, int]]) -> None:
    """A line is out when the client has taken it: then, and only then, may the process end."""
    line = b"x" * 999_999 + b"\n"
    gone = asyncio.Event()
    with standing_in(make, 1) as client, anyio.fail_after(20):
        out = await open_stdout(gone.set)
        async with anyio.create_task_group() as group:
            written = anyio.Event()

            async def write() -> None:
                await out.write(line)
                written.set()

            group.start_soon(write)
            await anyio.lowlevel.checkpoint()
            assert not written.is_set()
            got = b""
            while len(got) < len(line):
                await anyio.wait_readable(client)
                got += os.read(client, 65536)
            await written.wait()
        assert got == line
        os.close(client)
        await gone.wait()
        await out.write(line)  # it is dropped, and nobody waits


async def test_a_client_that_goes_while_it_is_waited_for_is_waited_for_no_more() -> None:
    """Issue: a broken stdout with a blocked write took 5.8 s to end."""
    gone = asyncio.Event()
    with standing_in(os.pipe, 1) as client, anyio.fail_after(20):
        out = await open_stdout(gone.set)
        async with anyio.create_task_group() as group:
            group.start_soon(out.write, b"x" * 10**6)
            await anyio.lowlevel.checkpoint()
            os.close(client)
        assert gone.is_set()


async def test_one_socket_for_both_directions_is_read_and_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """As inetd and systemd give it: what makes reading non-blocking makes writing so, and a full one is waited for."""
    ended = asyncio.Event()
    with standing_in(sockets, 0) as client, anyio.fail_after(20):
        kept = os.dup(1)
        os.dup2(0, 1)
        try:
            read = await open_stdin(ended.set)
            out = await open_stdout(ended.set)
            os.write(client, b"hello\n")
            assert await anext(read) == b"hello"
            line = b"y" * 3_000_000 + b"\n"
            async with anyio.create_task_group() as group:
                group.start_soon(out.write, line)
                got = b""
                while len(got) < len(line):
                    await anyio.wait_readable(client)
                    got += os.read(client, 65536)
            assert got == line
            read._source.close()  # type: ignore[union-attr]  # it is a transport
        finally:
            os.dup2(kept, 1)
            os.close(kept)
