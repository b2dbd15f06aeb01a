"""Commands and pauses on connections that break, stall or are closed in the middle."""

from dataclasses import replace
from itertools import repeat

import anyio
import pytest

from evi_mcp.chat.tool_calls import Answerer
from evi_mcp.errors import InvalidArgument, MaybeSent, NotSent
from evi_mcp.ledger.cursors import Position
from evi_mcp.supervision.actions import answering, pausing, speaking
from evi_mcp.supervision.following import Pace
from evi_mcp.upstream.memory import MemoryConnector, MemoryTransport
from evi_mcp.upstream.transport import Closed, Unreachable
from tests import frames
from tests.supervision.following import (
    ANOTHER,
    ME,
    BreaksOnWrite,
    FailsOn,
    Handing,
    NeverTakes,
    following,
    saying,
    until,
)

pytestmark = pytest.mark.anyio


async def test_a_break_during_a_write_is_told_as_what_it_is_and_never_retried() -> None:
    """Our contract (section 5): it may have reached the chat, so only reading can tell."""
    transport = BreaksOnWrite((frames.metadata(),))
    async with following(Handing(transport)) as registry:
        chat = await registry.attach("c")
        with pytest.raises(MaybeSent, match="may or may not have reached"):
            await chat.send(saying("hi"))
        assert len(transport.sent) == 1
        assert [event.command for event in chat.record.log if event.type == "command"] == ["user_input"]


async def test_a_stalled_socket_does_not_hold_an_agent_for_good() -> None:
    """The command may be in a buffer: that is said, and the agent goes on."""
    short = replace(saying("hi"), write_timeout_s=0.05)
    async with following(Handing(NeverTakes((frames.metadata(),)))) as registry:
        chat = await registry.attach("c")
        with pytest.raises(MaybeSent):
            await chat.send(short)
        assert not chat.is_connected or chat.state == "reconnecting", "it is left, so that nothing can arrive later"


class Slow(MemoryTransport):
    """Takes a frame when it is told to."""

    def __init__(self) -> None:
        super().__init__((frames.metadata(),))
        self.began, self.takes = anyio.Event(), anyio.Event()

    async def send(self, frame: str) -> None:
        self.began.set()
        await self.takes.wait()
        await super().send(frame)


async def test_an_agent_that_gives_up_amid_a_write_leaves_no_half_command() -> None:
    """What has begun is finished: half a frame would break the connection, and nobody would know what has arrived."""
    transport = Slow()
    async with following(Handing(transport)) as registry:
        chat = await registry.attach("c")
        async with anyio.create_task_group() as group:
            group.start_soon(chat.send, saying("hi"))
            await transport.began.wait()
            group.cancel_scope.cancel()
            transport.takes.set()
        assert len(transport.sent) == 1 and transport.is_open


async def test_a_stalled_socket_does_not_hold_the_end_either() -> None:
    """A pause would be resumed before closing; a service that takes nothing cannot delay that."""
    transport = NeverTakes((frames.metadata(),))
    async with following(Handing(transport)) as registry:
        chat = await registry.attach("c")
        chat.record.pause.begin(60.0, now=0.0, elapsed=chat.clock.elapsed())
        chat.pause_changed()
        await registry.detach("c")
    assert not transport.is_open, "what it would not take is not delivered later either"


async def test_detaching_ends_a_command_that_waits_for_the_chat_to_come_back() -> None:
    """It is told that nothing was sent, at once."""
    connector = MemoryConnector((frames.metadata(),), Unreachable("gone"))
    async with following(connector, Pace(first_frame=0.05, quiet=0.02)) as registry:
        chat = await registry.attach("c")
        connector.connections["c"][0].shut(None)
        await until(chat, "reconnecting")
        async with anyio.create_task_group() as group:

            async def send() -> None:
                with pytest.raises(NotSent, match="detached"):
                    await chat.send(saying("hi"))

            group.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            await registry.detach("c")


async def test_a_condition_on_a_cursor_that_is_too_old_to_tell_refuses() -> None:
    """What the user said since may have been dropped from the log: then nobody can say that nothing was."""
    said = [frames.metadata(), *(frames.assistant(f"line {n}", f"m-{n}") for n in range(20))]
    async with following(MemoryConnector(tuple(said)), max_events=5) as registry:
        chat = await registry.attach("c")
        cursors = registry.house.ledger.cursors
        for cursor, why in ((cursors.at(2), "too old to tell"), ("zzz-7", "another run of this server")):
            with pytest.raises(InvalidArgument, match=why):
                speaking.UnlessUserSpoke(cursors, cursors.read(cursor), cursor).check(chat)
        speaking.UnlessUserSpoke(cursors, Position(chat.record.log.dropped_seq), "").check(chat)


async def test_the_timer_of_a_pause_tries_until_a_resume_is_written() -> None:
    """A second resume does no harm, a missing one leaves the caller with a mute assistant."""
    connector = MemoryConnector((frames.metadata(),), Unreachable("down"), Unreachable("down"), (frames.metadata(),))
    async with following(connector, Pace(first_frame=0.05, quiet=0.02, delays=lambda: repeat(0.05))) as registry:
        chat = await registry.attach("c")
        await pausing.pause(chat, by=ME, resume_after_s=0.01)
        connector.connections["c"][0].shut(None)
        while len(connector.connections["c"]) < 2:
            await chat.changed()
        assert await connector.connections["c"][1].wait_sent(1) == ['{"type":"resume_assistant_message"}']


async def test_an_answer_of_which_nobody_knows_whether_it_arrived_can_be_given_again() -> None:
    """If it was lost, somebody has to be able to free the caller; the ledger says who perhaps did."""
    transport = BreaksOnWrite((frames.metadata(), frames.tool_call("call_1")))
    async with following(Handing(transport)) as registry:
        chat = await registry.attach("c")
        with pytest.raises(MaybeSent):
            call = answering.find_call(chat, "call_1")
            await answering.answer(chat, call, answering.answer_of(call, "x"), by=ME)
        [call] = chat.record.tool_calls.pending()
        assert call.answered_by == Answerer("me", "agent", perhaps=True)


async def test_the_timer_of_an_earlier_pause_does_not_end_a_later_one() -> None:
    """The last pause counts: here one that is not to end by itself, asked for while the first timer ran out."""
    connector = MemoryConnector((frames.metadata(),), Unreachable("down"), (frames.metadata(),))
    async with following(connector, Pace(first_frame=0.05, quiet=0.02, delays=lambda: repeat(0.1))) as registry:
        chat = await registry.attach("c")
        await pausing.pause(chat, by=ME, resume_after_s=0.05)
        connector.connections["c"][0].shut(None)
        await until(chat, "reconnecting")
        await pausing.pause(chat, by=ANOTHER, resume_after_s=0)
        await anyio.wait_all_tasks_blocked()
        sent = [event.command for event in chat.record.log if event.type == "command"]
        assert sent[-1] == "pause_assistant_message" and chat.record.pause.paused
        await pausing.resume(chat, by=ME)
        await pausing.pause(chat, by=ME, resume_after_s=60)
        await pausing.pause(chat, by=ANOTHER, resume_after_s=0)
        assert (chat.record.pause.promised, chat.record.pause.shown_resumes_at) == (False, None)


async def test_a_pause_that_is_being_written_while_its_chat_is_detached_is_resumed() -> None:
    """Whenever the detach comes, the caller is not left with a mute assistant."""

    class Slow(MemoryTransport):
        async def send(self, frame: str) -> None:
            self.sent.append(frame)
            await anyio.sleep(0.05)

    transport = Slow((frames.metadata(),))
    async with following(Handing(transport)) as registry:
        chat = await registry.attach("c")
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: pausing.pause(chat, by=ME, resume_after_s=60))
            await anyio.wait_all_tasks_blocked()
            await registry.detach("c")
    assert [frame.split('"')[3] for frame in transport.sent] == [
        "pause_assistant_message",
        "resume_assistant_message",
    ]


async def test_a_paused_chat_that_is_detached_while_it_cannot_be_resumed_says_so() -> None:
    """The timer goes with it, and there is no socket to resume on: the agent has to know."""
    connector = MemoryConnector((frames.metadata(),), Unreachable("down"))
    async with following(connector, Pace(first_frame=0.05, quiet=0.02)) as registry:
        chat = await registry.attach("c")
        await pausing.pause(chat, by=ME, resume_after_s=60)
        connector.connections["c"][0].shut(None)
        await until(chat, "reconnecting")
        assert (await registry.detach("c")).record.pause.paused


@pytest.mark.parametrize("resume_after_s", [0, 60])
async def test_a_resume_of_which_nobody_knows_leaves_the_pause_as_it_was(resume_after_s: float) -> None:
    """Whether it ends by itself or not: what is not known to be over is not called over."""

    class BreaksOnResume(MemoryTransport):
        async def send(self, frame: str) -> None:
            await super().send(frame)
            if "resume" in frame:
                self.shut(None)
                raise Closed(None)

    async with following(Handing(BreaksOnResume((frames.metadata(),)))) as registry:
        chat = await registry.attach("c")
        await pausing.pause(chat, by=ME, resume_after_s=resume_after_s)
        with pytest.raises(MaybeSent):
            await pausing.resume(chat, by=ME)
        assert chat.record.pause.paused
        assert chat.record.pause.promised == (resume_after_s > 0)


async def test_a_fault_of_ours_during_a_write_leaves_nobody_waiting() -> None:
    """Nobody knows whether it arrived: the call may be answered again, and a pause still ends by itself."""
    transport = FailsOn(
        "tool_response", "resume_assistant_message", first=(frames.metadata(), frames.tool_call("call_1"))
    )
    async with following(Handing(transport)) as registry:
        chat = await registry.attach("c")
        call = answering.find_call(chat, "call_1")
        with pytest.raises(RuntimeError):
            await answering.answer(chat, call, answering.answer_of(call, "x"), by=ME)
        assert chat.record.tool_calls.pending() == [call]
        await pausing.pause(chat, by=ME, resume_after_s=60)
        with pytest.raises(RuntimeError):
            await pausing.resume(chat, by=ME)
        assert chat.record.pause.promised
        transport.mended = True
    assert transport.sent[-1] == '{"type":"resume_assistant_message"}'
