"""The first moments, and what a process may find open or closed: a sentence at most, and never a traceback."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from itertools import chain, combinations, product
from pathlib import Path

import anyio
import pytest

from tests.process.conftest import SCRIPT, evi_mcp

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform == "win32", reason="has neither these signals")]

STREAMS = {"stdin": "0<&-", "stdout": "1>&-", "stderr": "2>&-"}
CLOSED = list(chain.from_iterable(combinations(STREAMS, count) for count in (1, 2, 3)))
ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "HOME", "COVERAGE_PROCESS_CONFIG") if name in os.environ}


async def run(command: str) -> tuple[int, str, str]:
    """The status and the output of a shell's command. A closed stream of it is one of a pipe that nobody writes to."""
    shell = await asyncio.create_subprocess_shell(
        command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=ENVIRONMENT,
    )
    async with asyncio.timeout(30):
        out, err = await shell.communicate()
    assert shell.returncode is not None
    return shell.returncode, out.decode(), err.decode()


@pytest.mark.parametrize(
    ("command", "closed"),
    [
        *product(["serve", "serve --simulate", "doctor", "--version"], CLOSED),
        *(("watch --simulate", closed) for closed in CLOSED if "stdout" in closed),  # it would go on
    ],
)
async def test_closed_streams_are_a_sentence_at_most(command: str, closed: tuple[str, ...]) -> None:
    """Issue: tracebacks, and worse: the next socket is taken for stdout. A cron job or a service may start it so."""
    status, out, err = await run(f"exec {SCRIPT} {command} {' '.join(STREAMS[name] for name in closed)}")
    if "stdout" in closed:
        assert (status, out) == (1, "") and err == ("" if "stderr" in closed else "evi-mcp: stdout is closed\n")
    else:
        assert status == (1 if command == "doctor" else 0)  # it has no key
        assert "Traceback" not in err and "Error" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize(
    "command", ["doctor", "--version", "serve --help", "simulate", "audit verify /etc/passwd", "demo"]
)
async def test_a_stdout_that_takes_nothing_is_a_sentence(command: str) -> None:
    """A full disk is no fault of ours, and nothing that was to be shown was."""
    status, _, err = await run(f"exec {SCRIPT} {command} > /dev/full")
    assert status == 1 and err == "evi-mcp: stdout takes no more: No space left on device\n"


async def test_a_reader_who_leaves_early_is_no_fault() -> None:
    """`evi-mcp serve --help | head -1`."""
    status, out, err = await run(f"{SCRIPT} serve --help | head -c 10")
    assert (status, err) == (0, "") and out


def catches(pid: int, signum: int) -> bool:
    """Whether the process has a handler for the signal (Linux)."""
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) & 1 << (signum - 1))


def moments() -> Iterator[float]:
    """Seconds after the first line of our code: the first tenth closely, and then until it has started for sure."""
    yield from (0.007 * number for number in range(14))
    yield from (0.1 * number for number in range(1, 8))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("command", ["serve", "watch"])
async def test_an_interrupt_while_it_starts_is_silent(command: str) -> None:
    """Issue: SIGINT in the first 0.1 s gave a traceback. What comes before our first line is Python's own."""
    for moment in moments():
        async with evi_mcp(command, "--simulate") as server:
            pid = server.process.pid
            while not catches(pid, signal.SIGINT):  # Python has not set up its handler
                await anyio.lowlevel.checkpoint()
            while catches(pid, signal.SIGINT) and not catches(pid, signal.SIGTERM):  # our first line takes it away
                await anyio.lowlevel.checkpoint()
            await anyio.sleep(moment)  # not hoped for: whatever has happened by then, it holds
            server.process.send_signal(signal.SIGINT)
            status, err = await server.ended()
        assert status in (-signal.SIGINT, 128 + signal.SIGINT), (moment, status)
        assert "Traceback" not in err and "Exception" not in err, (moment, err)
