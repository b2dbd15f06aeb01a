"""A power failure: what was sent is on the disk, and not only in the memory of the operating system."""

import os
from pathlib import Path

import anyio
import pytest

from evi_mcp.access.callers import EVERYTHING, agent
from evi_mcp.audit.log import AuditLog, open_log
from evi_mcp.clock import SystemClock
from evi_mcp.protocol.commands import ResumeAssistantMessage, UserInput
from evi_mcp.protocol.redaction import Mask
from evi_mcp.supervision.recording import Recording
from tests.audit.disks import Power, parsed

pytestmark = pytest.mark.anyio

ANA = agent("agent-1", "ana", EVERYTHING)


@pytest.fixture
def power(monkeypatch: pytest.MonkeyPatch) -> Power:
    power = Power()
    monkeypatch.setattr(os, "fsync", power.fsync)
    return power


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def said(log: AuditLog, text: str) -> Recording:
    return Recording(log, SystemClock(), UserInput.of(text=text), chat_id="c", by=ANA)


async def test_a_command_is_on_the_disk_before_it_may_be_sent(power: Power, path: Path) -> None:
    """Our promise (docs/audit.md): the disk has the record, and the folder the file, before the first byte goes out."""
    async with open_log(path, Mask(), SystemClock()) as log:
        assert [record["type"] for record in parsed(power.left_of(path))] == ["opened"]
        for number in range(3):
            async with said(log, f"line {number}"):
                texts = [record["fields"]["text"] for record in parsed(power.left_of(path)) if "fields" in record]
                assert texts == [f"line {earlier}" for earlier in range(number + 1)]
    assert parsed(power.left_of(path))[-1]["type"] == "closed"


async def test_the_disk_is_waited_for_once_for_all_commands_that_come_together(power: Power, path: Path) -> None:
    """A disk takes its time for each sync: a hundred agents at once share one, and outcomes need none."""
    async with open_log(path, Mask(), SystemClock()) as log:
        started = power.syncs
        together = 100

        async def say(number: int) -> None:
            async with said(log, f"line {number}") as recording:
                assert f'"line {number}"'.encode() in power.left_of(path)
                recording.outcome("sent")

        async with anyio.create_task_group() as group:
            for number in range(together):
                group.start_soon(say, number)
        assert power.syncs - started < together / 4
        started = power.syncs
        async with said(log, "alone") as recording:
            recording.outcome("sent")
        assert power.syncs - started == 1
        async with Recording(
            log, SystemClock(), ResumeAssistantMessage(), chat_id="c", by=ANA, pre_authorised=True
        ) as recording:
            recording.outcome("sent")
        assert power.syncs - started == 1, "what is sent in any case waits for no disk"
