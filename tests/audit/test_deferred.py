"""Records that cannot be written now: kept, in order, within bounds, and written as soon as that works."""

import logging
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from evi_mcp.access.callers import EVERYTHING, agent
from evi_mcp.audit import log as audit_log
from evi_mcp.audit.log import RETRY_S, AuditLog, open_log
from evi_mcp.protocol.redaction import Mask
from tests.audit.disks import SmallDisk, records
from tests.clocks import HandClock, settle

pytestmark = pytest.mark.anyio


class Here:
    def __init__(self, log: AuditLog, clock: HandClock, path: Path) -> None:
        self.log, self.clock, self.path = log, clock, path
        assert isinstance(log._file, SmallDisk)
        self.disk = log._file

    def kinds(self) -> list[str]:
        return [record["type"] for record in records(self.path)]


def text(path: Path) -> str:
    return path.read_text()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@asynccontextmanager
async def logging_to(path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Here]:
    monkeypatch.setattr(audit_log, "AuditFile", SmallDisk)
    clock = HandClock()
    with anyio.fail_after(20):
        async with open_log(path, Mask(), clock, version="0") as log:
            yield Here(log, clock, path)


async def test_what_is_deferred_is_tried_again_by_itself(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resume went out on a full disk, and then nothing happens: it must not wait for the next command."""
    async with logging_to(path, monkeypatch) as here:
        here.disk.room = 0
        resume = here.log.post({"type": "command"}, deferred=True)
        await resume.done.wait()
        outcome = here.log.post({"type": "outcome"}, deferred=True, of=resume)
        await outcome.done.wait()
        assert resume.error == "No space left on device" and here.kinds() == ["opened"]
        here.disk.room = None
        while resume.number is None:
            await here.clock.advance(RETRY_S)
        while outcome.number is None:
            await anyio.lowlevel.checkpoint()
        assert here.kinds() == ["opened", "command", "outcome"]
        assert records(path)[-1]["of"] == resume.number
    assert here.kinds()[-1] == "closed"


async def test_a_log_with_nothing_to_write_costs_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for a record, and does not look for one again and again."""
    async with logging_to(path, monkeypatch) as here:
        await here.log.post({"type": "command"}).done.wait()
        await settle()
        looks = 0
        timeout_at = here.clock.timeout_at

        def counted(at: float) -> AbstractContextManager[anyio.CancelScope]:
            nonlocal looks
            looks += 1
            return timeout_at(at)

        monkeypatch.setattr(here.clock, "timeout_at", counted)
        await settle()
        assert looks == 0


async def test_times_are_those_of_the_clock_that_was_given(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every record of one server is timed by one clock, the one that accounts for remains too."""
    async with logging_to(path, monkeypatch) as here:
        await here.log.post({"type": "a"}).done.wait()
        await here.clock.advance(60)
        here.disk.room = 40
        await here.log.post({"type": "b"}).done.wait()
        here.disk.room = None
        await here.log.post({"type": "c"}).done.wait()
    ats = [line.split('"at":"')[1][:23] for line in text(path).splitlines() if '"hash"' in line]
    assert ats == ["2027-01-15T08:00:00.000"] * 2 + ["2027-01-15T08:01:00.000"] * 3


async def test_nothing_is_kept_of_a_command_that_will_never_be_on_record(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that tries for hours against a disk that hangs must not fill the memory with what became of it."""
    monkeypatch.setattr(audit_log, "MAX_QUEUED", 3)
    goes_on = threading.Event()

    def hang(data: memoryview) -> int:
        goes_on.wait(20)
        return write(data)

    async with logging_to(path, monkeypatch) as here:
        write = here.disk._write
        monkeypatch.setattr(here.disk, "_write", hang)
        posted = [here.log.post({"type": "command"}, durable=True) for _ in range(10)]
        refused = [entry for entry in posted if entry.done.is_set()]
        assert len(refused) == 7 and all(entry.error == "records that wait to be written: 3" for entry in refused)
        for entry in refused:
            outcome = here.log.post({"type": "outcome"}, deferred=True, of=entry)
            assert outcome.done.is_set() and outcome.number is None and not outcome.deferred
        assert len(here.log._queue) + len(here.log._deferred) == 3
        here.log.refused("pause", {}, by=agent("agent-1", "ana", EVERYTHING), error="E", why="")
        assert len(here.log._queue) + len(here.log._deferred) == 3
        goes_on.set()
    assert here.kinds() == ["opened", "command", "command", "command", "closed"]


async def test_what_waits_is_bounded_in_records_and_in_characters(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is deferred counts as well as what has just come, each to the last one that has room."""
    async with logging_to(path, monkeypatch) as here:
        here.disk.room = 0
        first = here.log.post({"type": "command", "x": 1}, deferred=True)
        await first.done.wait()
        assert isinstance(first, audit_log._Queued)
        size = len(first.text)
        monkeypatch.setattr(audit_log, "MAX_HELD", 3 * size)
        posted = [here.log.post({"type": "command", "x": 1}) for _ in range(4)]
        assert [entry.error for entry in posted] == [None, None, *["records that wait to be written: 3"] * 2]
        for entry in posted:
            await entry.done.wait()
        monkeypatch.setattr(audit_log, "MAX_QUEUED", 2)
        posted = [here.log.post({"type": "command", "x": 1}) for _ in range(2)]
        assert [entry.error for entry in posted] == [None, "records that wait to be written: 2"]
        here.disk.room = None
        monkeypatch.undo()


async def test_trouble_with_the_disk_is_logged_when_it_begins_and_when_it_ends(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An operator has to see to it, and needs one line for that; nothing is said as long as all is well."""
    caplog.set_level(logging.INFO)

    def said() -> list[str]:
        return [record.message for record in caplog.records if record.name == "evi_mcp.audit.log"]

    async with logging_to(path, monkeypatch) as here:
        await here.log.post({"type": "command"}, durable=True).done.wait()
        assert said() == []
        here.disk.room = 0
        for _ in range(3):
            await here.log.post({"type": "command"}).done.wait()
        assert said() == ["audit log cannot be written, commands are refused"]
        here.disk.room = None
        for _ in range(3):
            await here.log.post({"type": "command"}).done.wait()
        assert said()[1:] == ["audit log can be written again"]
        here.disk.room = 0
        await here.log.post({"type": "outcome"}, deferred=True).done.wait()
    assert said()[-1] == "audit records are lost"


async def test_an_outcome_that_was_posted_while_its_command_was_being_written_follows_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent has given up in the meantime: what is on record is that nothing was sent."""
    async with logging_to(path, monkeypatch) as here:
        command = here.log.post({"type": "command"})
        outcome = here.log.post({"type": "outcome"}, deferred=True, of=command)
        await outcome.done.wait()
        assert (command.number, outcome.number) == (2, 3)
        lost = here.log.post({"type": "command"})
        here.disk.room = 0
        await lost.done.wait()
        late = here.log.post({"type": "outcome"}, deferred=True, of=lost)
        assert late.done.is_set()
        here.disk.room = None
    assert here.kinds() == ["opened", "command", "outcome", "closed"]
