"""A command on record, whatever the journal is: how long it waits, and what it says of who sent it."""

from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from evi_mcp.access.callers import AUTO_RESUME, EVERYTHING, Caller, agent
from evi_mcp.errors import NotSent, Unrecorded
from evi_mcp.ledger.journal import Entry, NullJournal
from evi_mcp.protocol.commands import ResumeAssistantMessage, UserInput
from evi_mcp.supervision.recording import PATIENCE_S, PRE_AUTHORISED_PATIENCE_S, Recording
from tests.clocks import HandClock, settle

pytestmark = pytest.mark.anyio

HI = UserInput.of(text="hi")
ANA = agent("agent-7", "ana", EVERYTHING)


class Slow:
    """A journal that takes everything in and writes nothing until it is told to."""

    def __init__(self) -> None:
        self.posted: list[tuple[dict[str, Any], Entry]] = []
        self.durable: list[bool] = []

    def post(
        self, fields: Mapping[str, Any], *, durable: bool = False, deferred: bool = False, of: Entry | None = None
    ) -> Entry:
        entry = Entry(deferred=deferred)
        self.posted.append((dict(fields), entry))
        self.durable.append(durable)
        return entry

    def refused(self, tool: str, arguments: Mapping[str, Any], *, by: Caller, error: str, why: str) -> None:
        raise AssertionError("it is no matter of a command")

    def write(self, place: int) -> None:
        entry = self.posted[place][1]
        entry.number = place + 1
        entry.done.set()

    @property
    def outcomes(self) -> list[str]:
        return [fields["outcome"] for fields, _ in self.posted if fields["type"] == "outcome"]


def on_record(journal: Slow | NullJournal, clock: HandClock, by: Caller = ANA, **options: Any) -> Recording:
    command = ResumeAssistantMessage() if options.get("pre_authorised") else HI
    return Recording(journal, clock, command, chat_id="c", by=by, **options)


async def test_a_record_names_the_caller_by_what_the_server_gave_it() -> None:
    """Issue: a client that calls itself as our timer does was audited like our timer."""
    journal, clock = Slow(), HandClock()
    pretender = agent("agent-9", "auto-resume", EVERYTHING)
    for caller in (pretender, AUTO_RESUME):
        async with anyio.create_task_group() as group:
            group.start_soon(on_record(journal, clock, caller).__aenter__)
            await settle()
            group.cancel_scope.cancel()
    said = [fields["by"] for fields, _ in journal.posted if fields["type"] == "command"]
    assert said == [
        {"id": "agent-9", "kind": "agent", "name": "auto-resume"},
        {"id": "server:auto-resume", "kind": "server", "name": "auto-resume"},
    ]


async def test_a_command_waits_for_its_record_and_no_longer_than_its_patience() -> None:
    """A disk that hangs costs the agent 5 s and an error that says that nothing was sent."""
    journal, clock = Slow(), HandClock()
    refused = anyio.Event()

    async def send() -> None:
        with pytest.raises(Unrecorded, match="took more than 5 s"):
            async with on_record(journal, clock):
                raise AssertionError("it is not on record")
        refused.set()

    async with anyio.create_task_group() as group:
        group.start_soon(send)
        await clock.advance(PATIENCE_S - 0.1)
        assert not refused.is_set() and journal.durable == [True]
        await clock.advance(0.1)
        assert refused.is_set()
    assert journal.outcomes == ["not_sent"]


async def test_a_resume_that_was_announced_waits_a_quarter_second_in_all_for_a_disk_that_hangs() -> None:
    """Nothing that is written for others may hold a resume up, nor the end of the process after it."""
    journal, clock = Slow(), HandClock()
    sent, left = anyio.Event(), anyio.Event()

    async def send() -> None:
        async with on_record(journal, clock, AUTO_RESUME, pre_authorised=True) as recording:
            sent.set()
            recording.begins(4)
            recording.outcome("sent")
        left.set()

    async with anyio.create_task_group() as group:
        group.start_soon(send)
        await settle()
        assert not sent.is_set() and journal.durable == [False]
        await clock.advance(PRE_AUTHORISED_PATIENCE_S)
        assert sent.is_set() and not left.is_set()
        await clock.advance(PRE_AUTHORISED_PATIENCE_S)
        assert left.is_set()
    assert [entry.deferred for _, entry in journal.posted] == [True, True], "both are written once that works"


async def test_an_agent_is_told_of_an_outcome_once_that_is_on_record() -> None:
    """What an agent was told is in the journal, also if the process is killed the moment after."""
    journal, clock = Slow(), HandClock()
    told = anyio.Event()

    async def send() -> None:
        with pytest.raises(NotSent):
            async with on_record(journal, clock):
                raise NotSent("user_input", "the chat is over")
        told.set()

    async with anyio.create_task_group() as group:
        group.start_soon(send)
        await settle()
        journal.write(0)
        await settle()
        assert journal.outcomes == ["not_sent"] and not told.is_set()
        journal.write(1)
        await settle()
        assert told.is_set()


@pytest.mark.parametrize("told", [True, False])
async def test_an_error_is_an_outcome_where_none_was_told(told: bool) -> None:
    """What went wrong after a command was sent does not unsend it; and an error knows that it is on record."""
    journal, clock = Slow(), HandClock()
    error = NotSent("user_input", "the chat is over")

    async def send() -> None:
        with pytest.raises(NotSent):
            async with on_record(journal, clock) as recording:
                if told:
                    recording.outcome("sent")
                raise error

    async with anyio.create_task_group() as group:
        group.start_soon(send)
        await settle()
        journal.write(0)
        await settle()
        journal.write(1)
    assert journal.outcomes == ["sent" if told else "not_sent"] and error.audited


async def test_without_a_journal_nothing_is_waited_for() -> None:
    """The null one records nothing and refuses nothing."""
    clock = HandClock()
    journal = NullJournal()
    async with on_record(journal, clock) as recording:
        recording.outcome("sent")
    journal.refused("pause", {"chat_id": "c"}, by=ANA, error="E", why="")
    assert journal.post({}).number is None
