"""Commands on record: before they are written, whatever becomes of them, and not sent if they cannot be."""

import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from evi_mcp.access.callers import AUTO_RESUME, DETACHING, EVERYTHING, FALLBACK, Caller, agent
from evi_mcp.access.limits import CallerLimits
from evi_mcp.audit import log as audit_log
from evi_mcp.audit.log import AuditLog, open_log
from evi_mcp.audit.verify import verify
from evi_mcp.chat.pause import Pause
from evi_mcp.errors import MaybeSent, NotSent, ToolCallAnswered, Unrecorded, UserSpoke
from evi_mcp.ledger.journal import described
from evi_mcp.protocol.commands import Command, SessionSettings, UserInput
from evi_mcp.protocol.redaction import Mask
from evi_mcp.supervision.desk import Desk
from evi_mcp.supervision.fallback import RETRY_S, answer_after
from evi_mcp.supervision.feed import Feed, Scope
from evi_mcp.supervision.following import Pace
from evi_mcp.supervision.intents import Intent
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.supervision.recording import PATIENCE_S
from evi_mcp.supervision.registry import ChatRegistry
from evi_mcp.upstream.memory import MemoryConnector, MemoryTransport
from evi_mcp.upstream.transport import Connector, Unreachable
from tests import frames
from tests.audit.disks import SmallDisk, records
from tests.clocks import HandClock, settle
from tests.supervision.following import BreaksOnWrite, Handing, happens, house_of, until

pytestmark = pytest.mark.anyio

SECRET = "sk-live-0123456789"
HI = UserInput.of(text="hi")


def named(name: str) -> Caller:
    """An agent that calls itself so."""
    return agent("agent-7", name, EVERYTHING)


def wanted(by: str, command: Command = HI, **more: Any) -> Intent:
    """A command of the agent that calls itself so."""
    return Intent(command=command, by=named(by), **more)


class Recorded:
    """A registry whose commands are recorded, and the disk on which they are. Only the test lets time pass."""

    def __init__(self, registry: ChatRegistry, log: AuditLog, path: Path, clock: HandClock) -> None:
        self.registry, self.log, self.path, self.clock = registry, log, path, clock
        assert isinstance(log._file, SmallDisk)
        self.disk = log._file

    async def attach(self, chat_id: str = "c") -> LiveChat:
        """A chat whose history has arrived."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.registry.attach, chat_id)
            await self.clock.advance(9)
        chat = self.registry.get(chat_id)
        assert chat.state == "live" and not chat.record.catching_up
        return chat

    def desk(self, name: str) -> Desk:
        """Where the agent sits that calls itself so."""
        return Desk(named(name), self.registry, None, EVERYTHING, CallerLimits(200, 120))

    @property
    def records(self) -> list[dict[str, Any]]:
        return records(self.path)

    def commands(self) -> list[tuple[str, list[str]]]:
        """Each command with its outcomes."""
        found: dict[int, tuple[str, list[str]]] = {}
        for record in self.records:
            if record["type"] == "command":
                found[record["n"]] = (record["command"], [])
            elif record["type"] == "outcome":
                found[record["of"]][1].append(record["outcome"])
        return list(found.values())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture(autouse=True)
def small_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "AuditFile", SmallDisk)


@asynccontextmanager
async def recording(path: Path, connector: Connector | MemoryConnector) -> AsyncIterator[Recorded]:
    clock, mask = HandClock(), Mask([SECRET])
    with anyio.fail_after(20):
        async with open_log(path, mask, clock, version="0") as log:
            house = house_of(connector, clock, mask=mask, journal=log)
            async with ChatRegistry(house, pace=Pace()) as registry:
                yield Recorded(registry, log, path, clock)
    with path.open("rb") as stream:
        assert verify(stream).broken is None


def history(*more: str) -> MemoryConnector:
    return MemoryConnector((frames.metadata(), *more))


async def test_a_command_is_on_record_when_its_frame_is_written(path: Path) -> None:
    """Issue: never sent unrecorded. So a server that is killed at any moment has recorded all that it sent."""
    seen: list[dict[str, Any]] = []

    class Looks(MemoryTransport):
        async def send(self, frame: str) -> None:
            seen.extend(records(path))
            await super().send(frame)

    async with recording(path, Handing(Looks((frames.metadata(),)))) as here:
        chat = await here.attach()
        receipt = await chat.send(wanted("me"))
        assert seen[-1] == {
            "n": 2,
            "type": "command",
            "command": "user_input",
            "chat_id": "c",
            "by": {"id": "agent-7", "kind": "agent", "name": "me"},
            "fields": {"text": "hi"},
        }
        assert here.records[-1] == {"n": 3, "of": 2, "type": "outcome", "outcome": "sent", "seq": receipt.seq}
    assert here.records[-1]["type"] == "closed"


async def test_an_effect_that_was_seen_is_on_record(path: Path) -> None:
    """With the numbers that the events have: the log of events and the audit log tell one story."""

    class Echo(MemoryTransport):
        async def send(self, frame: str) -> None:
            await super().send(frame)
            self.push(frames.typed(json.loads(frame)["text"]))

    async with recording(path, Handing(Echo((frames.metadata(),)))) as here:
        chat = await here.attach()
        desk = here.desk("me")
        terms = {"unless_user_spoke_after": desk.cursors.at(chat.record.log.last_seq)}
        receipt = await desk.speak("c", HI, wait_s=5, **terms)
        assert receipt.confirmed_by is not None
        command, sent, confirmed = here.records[1:]
        assert command["terms"] == terms
        assert (sent["outcome"], confirmed["outcome"]) == ("sent", "confirmed")
        assert confirmed["confirmed_by"] == receipt.confirmed_by


async def test_whatever_keeps_a_command_back_is_its_outcome(path: Path) -> None:
    """An operator sees what was tried, and that nothing came of it. What the caller said is not in it."""
    connector = history(frames.tool_call("call_1"), frames.user("My card is 4711"))
    async with recording(path, connector) as here:
        chat = await here.attach()
        with pytest.raises(UserSpoke):
            desk = here.desk("a")
            await desk.speak("c", HI, unless_user_spoke_after=desk.cursors.at(1), wait_s=0)

        async with anyio.create_task_group() as group:  # both find it open, and record what they are about to do

            async def answer(content: str) -> None:
                with refused:
                    await here.desk(content).answer_tool_call("c", "call_1", content)

            refused = _CountsOne(ToolCallAnswered)
            group.start_soon(answer, "one")
            group.start_soon(answer, "two")
        assert refused.count == 1
        chat.detach()
        with pytest.raises(NotSent):
            await chat.send(wanted("a"))
        assert here.commands() == [
            ("user_input", ["refused"]),
            ("tool_response", ["sent"]),
            ("tool_response", ["refused"]),
            ("user_input", ["not_sent"]),
        ]
        assert "4711" not in json.dumps(here.records)
        assert len(connector.connections["c"][0].sent) == 1


class _CountsOne:
    """Takes this error, and counts it."""

    def __init__(self, error: type[Exception]) -> None:
        self._error, self.count = error, 0

    def __enter__(self) -> None: ...

    def __exit__(self, exc_type: Any, *_: object) -> bool:
        self.count += exc_type is self._error
        return exc_type is self._error


async def test_what_may_have_been_sent_is_not_called_anything_else(path: Path) -> None:
    """The connection broke during the write, or something in this server did."""

    class Fails(MemoryTransport):
        async def send(self, frame: str) -> None:
            raise RuntimeError("boom")

    for transport, error in ((BreaksOnWrite, MaybeSent), (Fails, RuntimeError)):
        async with recording(path, Handing(transport((frames.metadata(),)))) as here:
            chat = await here.attach()
            with pytest.raises(error):
                await chat.send(wanted("a"))
    assert here.commands() == [("user_input", ["maybe_sent"])] * 2


async def test_a_client_that_gives_up_leaves_an_outcome(path: Path) -> None:
    """While it waits for the chat to come back, or for the disk: nothing was sent, and that is on record."""
    connector = MemoryConnector((frames.metadata(),), Unreachable("gone"))
    async with recording(path, connector) as here:
        chat = await here.attach()
        connector.connections["c"][0].shut(None)
        await until(chat, "reconnecting")
        async with anyio.create_task_group() as group:
            group.start_soon(_send, chat)
            await happens(lambda: len(here.records) == 2)
            group.cancel_scope.cancel()
        async with anyio.create_task_group() as group:
            group.start_soon(_send, chat)
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
    assert here.commands() == [("user_input", ["not_sent"])] * 2
    assert not connector.connections["c"][0].sent


async def _send(chat: LiveChat) -> None:
    await chat.send(wanted("a"))


@pytest.mark.parametrize("room", [0, 1, 100, 250])
async def test_a_full_disk_refuses_commands_until_there_is_room(path: Path, room: int) -> None:
    """Issue: refused rather than sent unrecorded, in a sentence that says so; nothing of it reaches the chat."""
    connector = history(frames.tool_call("call_1"))
    async with recording(path, connector) as here:
        chat, desk = await here.attach(), here.desk("a")
        transport = connector.connections["c"][0]
        here.disk.room = room
        for _ in range(3):
            with pytest.raises(Unrecorded, match="No space left on device"):
                await chat.send(wanted("a"))
        with pytest.raises(Unrecorded, match="nothing is sent unrecorded"):
            await desk.pause("c", resume_after_s=60)
        with pytest.raises(Unrecorded):
            await desk.answer_tool_call("c", "call_1", "x")
        assert (transport.sent, chat.record.pause) == ([], Pause())
        assert [call.tool_call_id for call in chat.record.tool_calls.pending()] == ["call_1"]
        assert not [event for event in chat.record.log if event.type == "command"]
        here.disk.room = None
        await desk.answer_tool_call("c", "call_1", "x")
        assert len(transport.sent) == 1
    assert here.commands() == [("tool_response", ["sent"])]
    assert ("recovered" in [record["type"] for record in here.records]) == (room > 0)


async def test_a_disk_that_may_not_have_it_refuses_too(path: Path) -> None:
    """After a failed `fsync` nobody knows what the disk has. The record is there, so it gets its outcome."""
    connector = history()
    async with recording(path, connector) as here:
        chat = await here.attach()
        here.disk.syncs = False
        with pytest.raises(Unrecorded, match="Input/output error"):
            await chat.send(wanted("a"))
        here.disk.syncs = True
        await chat.send(wanted("a"))
        assert len(connector.connections["c"][0].sent) == 1
    assert here.commands() == [("user_input", ["not_sent"]), ("user_input", ["sent"])]


async def test_an_outcome_that_cannot_be_recorded_is_deferred(path: Path) -> None:
    """The disk is full between a command and its outcome: it is the first thing written when there is room."""

    class Fills(MemoryTransport):
        disk: SmallDisk

        async def send(self, frame: str) -> None:
            self.disk.room = 20
            await super().send(frame)

    transport = Fills((frames.metadata(),))
    async with recording(path, Handing(transport)) as here:
        transport.disk = here.disk
        chat = await here.attach()
        await chat.send(wanted("a"))
        assert here.commands() == [("user_input", [])]
        with pytest.raises(Unrecorded):
            await chat.send(wanted("a"))
        here.disk.room = None
        await chat.send(wanted("b"))
        assert [record["type"] for record in here.records[:4]] == ["opened", "command", "recovered", "outcome"]
        here.disk.room = None
    assert here.commands() == [("user_input", ["sent"])] * 2


@pytest.mark.parametrize("end", ["timer", "detach"])
async def test_a_full_disk_leaves_nobody_with_a_mute_assistant(path: Path, end: str) -> None:
    """A pause on record announces its end. The resume is sent, and recorded as soon as there is room."""
    connector = history()
    async with recording(path, connector) as here:
        await here.attach()
        transport = connector.connections["c"][0]
        await here.desk("a").pause("c", resume_after_s=60)
        assert here.records[1]["terms"] == {"resume_after_s": 60}
        here.disk.room = 0
        if end == "detach":
            await here.registry.detach("c")
        else:
            await here.clock.advance(60)
        assert await transport.wait_sent(2) == [
            '{"type":"pause_assistant_message"}',
            '{"type":"resume_assistant_message"}',
        ]
        await happens(lambda: len(here.log._deferred) == 2)
        assert here.commands() == [("pause_assistant_message", ["sent"])]
        here.disk.room = None
    assert here.commands() == [("pause_assistant_message", ["sent"]), ("resume_assistant_message", ["sent"])]
    by = [record["by"] for record in here.records if record["type"] == "command"]
    assert by == [described(named("a")), described(AUTO_RESUME if end == "timer" else DETACHING)]


async def test_the_fallback_of_tool_calls_waits_for_room(path: Path) -> None:
    """Nothing announced it, so it is refused as any command; the caller who waits gets it as soon as that works."""
    connector = history()
    async with recording(path, connector) as here:
        feed = Feed(Scope(here.registry, lambda _: True), {"tool_call"})
        here.registry.start(answer_after, feed, here.registry.find, here.clock, 10.0)
        await here.attach()
        here.disk.room = 0
        transport = connector.connections["c"][0]
        transport.push(frames.tool_call("call_1"))
        await here.clock.advance(10)
        await happens(lambda: here.log._failing and not here.log._held)
        await settle()
        assert not transport.sent
        here.disk.room = None
        await here.clock.advance(RETRY_S)
        assert "tool_error" in (await transport.wait_sent(1))[0]
        await happens(lambda: len(here.records) == 3)
        assert here.records[1]["by"] == described(FALLBACK)
    assert here.commands() == [("tool_error", ["sent"])]


async def test_a_disk_that_hangs_holds_up_nobody_but_who_waits_for_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command is refused after a while; events come in meanwhile; what was refused is not called sent later."""
    hanging, goes_on = threading.Event(), threading.Event()

    class Hangs(SmallDisk):
        def sync(self) -> None:
            hanging.set()
            assert goes_on.wait(20)

    goes_on.set()
    monkeypatch.setattr(audit_log, "AuditFile", Hangs)
    connector = history()
    async with recording(path, connector) as here:
        chat = await here.attach()
        hanging.clear()
        goes_on.clear()
        transport = connector.connections["c"][0]
        refused = anyio.Event()
        async with anyio.create_task_group() as group:

            async def send() -> None:
                with pytest.raises(Unrecorded, match="took more than"):
                    await chat.send(wanted("a"))
                refused.set()

            group.start_soon(send)
            await happens(hanging.is_set)
            transport.push(frames.assistant("meanwhile"))
            await here.clock.advance(PATIENCE_S - 0.1)
            assert not refused.is_set()
            await here.clock.advance(0.1)
            assert refused.is_set()
        transport.push(frames.assistant("done", "m-9"))
        await settle()
        assert [event.text for event in chat.record.log][-2:] == ["meanwhile", "done"]
        assert not transport.sent and not goes_on.is_set()
        goes_on.set()
    assert not transport.sent
    assert here.commands() == [("user_input", ["not_sent"])]


async def test_a_log_that_is_hopelessly_behind_takes_no_more(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every buffer is bounded: what finds no place in it is refused, be it announced or not."""
    connector = history()
    async with recording(path, connector) as here:
        chat = await here.attach()
        monkeypatch.setattr(audit_log, "MAX_HELD", 1000)
        here.log.refused("pause", {"x": "y" * 5000}, by=named("ana"), error="E", why="")  # alone it may be of any size
        with pytest.raises(Unrecorded, match="wait to be written: 1"):
            await chat.send(wanted("a"))
        monkeypatch.setattr(audit_log, "MAX_QUEUED", 0)
        with pytest.raises(Unrecorded, match="wait to be written"):
            await chat.send(wanted("a"))
        chat.record.pause.begin(60.0, now=here.clock.now(), elapsed=here.clock.elapsed())
        chat.pause_changed()
        await here.registry.detach("c")
        assert not connector.connections["c"][0].sent
        assert "wait to be written" in (chat.record.pause.undelivered or "")
        monkeypatch.setattr(audit_log, "MAX_QUEUED", 10)


async def test_many_commands_at_once_are_each_recorded_once_and_in_order(path: Path) -> None:
    """Of many agents on many chats: one chain, and each outcome with its command."""
    connector = history()
    async with recording(path, connector) as here:
        chats = [await here.attach(f"c{number}") for number in range(5)]
        async with anyio.create_task_group() as group:
            for chat in chats:
                for number in range(40):
                    group.start_soon(_say, chat, f"{chat.chat_id}-{number}")
    intents = {record["n"]: record for record in here.records if record["type"] == "command"}
    outcomes = [record for record in here.records if record["type"] == "outcome"]
    assert sorted(outcome["of"] for outcome in outcomes) == sorted(intents) and len(intents) == 200
    for chat_id, connections in connector.connections.items():
        sent = [json.loads(frame)["text"] for frame in connections[0].sent]
        recorded = [intents[n]["fields"]["text"] for n in sorted(intents) if intents[n]["chat_id"] == chat_id]
        assert sorted(sent) == sorted(recorded) and len(sent) == 40


async def _say(chat: LiveChat, text: str) -> None:
    await chat.send(wanted(text, UserInput.of(text=text)))


def secret_settings() -> SessionSettings:
    return SessionSettings.of(
        language_model_api_key=SECRET,
        metadata={"note": SECRET, "password": "hunter2", "odd": 1.5},
        system_prompt=f"The key is {SECRET}.",
        custom_session_id="mine-1",
    )


async def test_no_secret_is_ever_in_it(path: Path) -> None:
    """Our contract (section 7): by name and by value, wherever it stands. All else that was sent is there."""
    async with recording(path, history()) as here:
        chat = await here.attach()
        await chat.send(wanted(SECRET, secret_settings(), terms={"x": [SECRET]}))
        arguments = {"chat_id": "c", "language_model_api_key": "sk-other", "text": f"{SECRET} and more"}
        here.log.refused("send_user_input", arguments, by=named("ana"), error="E", why=f"not {SECRET}")
        here.log.refused("send_user_input", {"text": "x" * 100_000}, by=named("ana"), error="E", why="")
    written = json.dumps(here.records)
    assert not any(secret in written for secret in (SECRET, "hunter2", "sk-other"))
    command, _, refused, long, _ = here.records[1:]
    assert command["fields"]["custom_session_id"] == "mine-1"
    assert command["fields"]["metadata"] == {"note": "[redacted]", "password": "[redacted]", "odd": 1.5}
    assert refused["arguments"]["text"] == "[redacted] and more"
    assert long["arguments"].startswith("[1000")
