"""A writer waits for its reader, and whoever posts does not: bounded, in order, with a count of what was dropped."""

import os
import threading
from collections.abc import Iterator

import pytest

from evi_mcp.writer import Writer, discard, write_all

LINE = b"x" * 1023 + b"\n"
PATIENCE_S = 20.0


class Pipe:
    """Both ends of a pipe."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()

    def fill(self) -> int:
        """Leaves no room in it; how much it holds."""
        os.set_blocking(self.write_end, False)
        count = 0
        try:
            while True:
                count += os.write(self.write_end, b"f" * 512)
        except BlockingIOError:
            os.set_blocking(self.write_end, True)
            return count

    def read(self, count: int) -> bytes:
        """So many bytes; waits for them."""
        got = b""
        while len(got) < count:
            got += os.read(self.read_end, count - len(got))
        return got

    def close(self) -> None:
        for end in (self.read_end, self.write_end):
            try:
                os.close(end)
            except OSError:
                continue


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def writer_on(pipe: Pipe, most: int = 64 * 1024) -> Writer:
    return Writer(pipe.write_end, lambda count: b"dropped %d\n" % count, most)


def test_who_posts_to_a_pipe_that_nobody_reads_never_waits(pipe: Pipe) -> None:
    """Issue: after 64 KiB of log the event loop hung. That this test goes on at all is what it holds."""
    writer = writer_on(pipe)
    for _ in range(1000):
        writer.post(LINE)
    assert not writer.flush(0.01)


def test_what_was_dropped_is_counted_where_it_would_have_been(pipe: Pipe) -> None:
    """Whoever reads later sees the oldest lines, then how many are missing, then those that came after."""
    held = pipe.fill()
    writer = writer_on(pipe, most=10 * len(LINE))
    for number in range(25):
        writer.post(b"%4d" % number + LINE[4:])
    pipe.read(held)
    kept = pipe.read(10 * len(LINE))
    assert [int(line[:4]) for line in kept.splitlines()] == list(range(10))
    assert writer.flush(PATIENCE_S) and pipe.read(11) == b"dropped 15\n"
    writer.post(b"after\n")
    assert writer.flush(PATIENCE_S) and pipe.read(6) == b"after\n"


def test_a_line_after_a_gap_comes_after_its_count(pipe: Pipe) -> None:
    """The count is logged with the next line that finds room, not only at the end."""
    held = pipe.fill()
    writer = writer_on(pipe, most=len(LINE))
    writer.post(LINE)
    writer.post(b"lost\n")
    pipe.read(held + len(LINE))
    while writer._waiting:
        continue
    writer.post(b"found\n")
    assert pipe.read(16) == b"dropped 1\nfound\n"


def test_a_descriptor_that_another_process_made_non_blocking_loses_nothing(pipe: Pipe) -> None:
    """A terminal or a pipe is shared, and so is its mode: a full one is waited for, in the thread."""
    os.set_blocking(pipe.write_end, False)
    data = os.urandom(500_000)
    thread = threading.Thread(target=write_all, args=(pipe.write_end, data))
    thread.start()
    assert pipe.read(len(data)) == data
    thread.join()


def test_a_reader_who_has_gone_costs_nothing_but_the_lines(pipe: Pipe) -> None:
    """stderr may be closed at any time; the process goes on, and says once there is another reader that it was so."""
    writer = writer_on(pipe)
    os.close(pipe.read_end)
    for _ in range(3):
        writer.post(LINE)
    assert writer.flush(PATIENCE_S)
    assert isinstance(writer.error, BrokenPipeError)
    other, write_end = os.pipe()
    os.dup2(write_end, pipe.write_end)
    os.close(write_end)
    writer.post(b"here\n")
    assert writer.flush(PATIENCE_S) and writer.error is None
    said = os.read(other, 1000)
    os.close(other)
    assert said.startswith(b"dropped ") and said.endswith(b"\nhere\n")


def test_what_is_discarded_fails_no_more(pipe: Pipe) -> None:
    """What is left in a buffer would be tried again at the end of the process."""
    os.close(pipe.read_end)
    discard(pipe.write_end)
    write_all(pipe.write_end, LINE)
