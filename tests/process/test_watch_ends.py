"""How `evi-mcp watch` ends where nobody reads, or nobody is left: in time, with its socket closed with 1000."""

import os
import signal
import sys
import time

import anyio
import pytest

from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT
from tests.process.conftest import evi_mcp
from tests.process.test_shutdown import gone, within_limit
from tests.process.test_unread import unread_server
from tests.process.test_watch import not_reading, terminal, until_live

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"]


@pytest.mark.parametrize("name", SIGNALS)
async def test_a_reader_who_has_stopped_does_not_keep_it_from_leaving(evi: FakeEvi, name: str) -> None:
    """Its last write is stuck in a pipe that nobody reads: one Ctrl-C must be enough."""
    evi.history[CHAT] = [frames.metadata()]
    signum = getattr(signal, name)
    async with evi_mcp("watch", CHAT, evi=evi) as watch:
        await until_live(watch)
        with not_reading(watch):
            for n in range(200):
                await evi.push(CHAT, frames.user(f"{n} {'word ' * 1000}", n * 1000))
            began = time.monotonic()
            watch.process.send_signal(signum)
            await gone(watch.process.pid)
            within_limit(began, name)
            assert watch.process.stderr is not None
            assert await watch.process.stderr.read() == b""
        assert await watch.process.wait() == 128 + signum
    await evi.until(lambda: evi.closes[CHAT])
    assert evi.closes[CHAT] == [1000]


@pytest.mark.parametrize("end", ["the chat", *SIGNALS])
async def test_neither_stdout_nor_stderr_has_to_be_read(evi: FakeEvi, end: str) -> None:
    """Also at DEBUG, where each event is a line on stderr: the chat is followed and left all the same."""
    evi.history[CHAT] = [frames.metadata()]
    async with unread_server(evi, "watch", CHAT, EVI_MCP_LOG_LEVEL="DEBUG") as watch:
        await evi.until(lambda: evi.sockets[CHAT])
        for n in range(1000):
            await evi.push(CHAT, frames.user(f"{n} {'word ' * 30}", n * 1000))
        await watch.until_full()
        began = time.monotonic()
        if end == "the chat":
            await evi.close(CHAT, 1000, "the user left")
            await evi.until(lambda: evi.closes[CHAT])
            os.close(watch.stdout)  # until somebody reads on or leaves, there is something to be shown
        else:
            watch.process.send_signal(getattr(signal, end))
        await gone(watch.process.pid)
        within_limit(began, end)
        status = await watch.process.wait()
    assert status == (0 if end == "the chat" else 128 + getattr(signal, end))
    await evi.until(lambda: evi.closes[CHAT])
    assert evi.closes[CHAT] == [1000] and not evi.received[CHAT]


async def test_a_terminal_that_is_closed_ends_it(evi: FakeEvi) -> None:
    """The window is gone, and with it whoever could read: the kernel sends SIGHUP, and every write fails."""
    evi.history[CHAT] = [frames.metadata()]
    async with terminal(evi) as screen:
        await screen.until(lambda rows: rows[-2].endswith("chat  live"))
        began = time.monotonic()
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, screen._master)
        os.close(null)
        await gone(screen.process.pid)
        within_limit(began, "a closed terminal")
        assert await screen.process.wait() == 128 + signal.SIGHUP
    await evi.until(lambda: evi.closes[CHAT])
    assert evi.closes[CHAT] == [1000]


@pytest.mark.parametrize(
    "arguments", [["fly"], ["watch", "gone"], ["serve", "--max-chats", "0"], ["watch", "a b"]], ids=" ".join
)
async def test_what_went_wrong_is_said_to_nobody_if_nobody_reads(evi: FakeEvi, arguments: list[str]) -> None:
    """stderr is full from the start, as of a script that runs many commands: the one sentence must not hold the end."""
    evi.refuse["gone"] = 404
    async with unread_server(evi, *arguments) as server:
        os.set_blocking(server._ends[1], False)
        try:
            while True:
                os.write(server._ends[1], b"x" * 512)
        except BlockingIOError:
            os.set_blocking(server._ends[1], True)
        with anyio.fail_after(20):
            await gone(server.process.pid)
        assert await server.process.wait() == (1 if "gone" in arguments else 2)
