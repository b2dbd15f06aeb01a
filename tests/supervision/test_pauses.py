"""The promise of a pause: EVI speaks again, whatever becomes of the socket, the chat or the clock."""

import threading
from itertools import repeat

import anyio
import anyio.lowlevel
import pytest

from evi_mcp.chat.events import Event
from evi_mcp.chat.pause import Pause
from evi_mcp.errors import NotSent
from evi_mcp.protocol.commands import UserInput
from evi_mcp.supervision import auto_resume
from evi_mcp.supervision.actions import pausing
from evi_mcp.supervision.actions.speaking import UnlessUserSpoke
from evi_mcp.supervision.following import Pace
from evi_mcp.upstream.memory import MemoryConnector, MemoryTransport
from evi_mcp.upstream.transport import MaybeTaken, NotTaken, Unreachable
from tests import frames
from tests.clocks import HandClock, settle
from tests.supervision.following import ME, FailsOn, Handing, NeverTakes, following, happens, saying, until

pytestmark = pytest.mark.anyio

RESUME = ("c", '{"type":"resume_assistant_message"}')
GONE_FOR_GOOD = Pace(reconnect_for=0.05, first_frame=0.05, quiet=0.02, delays=lambda: repeat(0.01))


def lost() -> MemoryConnector:
    """A service that is reached once, then only by REST."""
    connector = MemoryConnector((frames.metadata(),), Unreachable("down"))
    connector.refuse_posts = None
    return connector


async def test_a_chat_that_failed_while_paused_is_resumed_by_rest() -> None:
    """An outage longer than EVI_MCP_RECONNECT_FOR: the timer was gone with the chat, and EVI was mute for good."""
    connector = lost()
    async with following(connector, GONE_FOR_GOOD) as registry:
        chat = await registry.attach("c")
        await pausing.pause(chat, by=ME, resume_after_s=0.3)
        connector.connections["c"][0].shut(None)
        await until(chat, "failed")
        await happens(lambda: connector.posted)
        assert connector.posted == [RESUME]
        assert not chat.record.pause.paused


async def test_a_resume_that_is_not_taken_is_tried_until_it_is_and_meanwhile_said() -> None:
    """The service may be away too: a resume too late is better than none, and `get_chat` says that it is due."""
    connector = lost()
    connector.refuse_posts = NotTaken("the service is away")
    async with following(connector, GONE_FOR_GOOD) as registry:
        chat = await registry.attach("c")
        await pausing.pause(chat, by=ME, resume_after_s=0.05)
        connector.connections["c"][0].shut(None)
        await until(chat, "failed")
        await happens(lambda: chat.record.pause.undelivered)
        assert chat.record.pause.undelivered == "the service is away"
        connector.refuse_posts = None
        await happens(lambda: connector.posted)
        assert chat.record.pause == Pause()


async def test_a_resume_of_which_nobody_knows_whether_it_came_is_sent_again() -> None:
    """Twice does no harm."""
    connector = lost()
    connector.refuse_posts = MaybeTaken()
    async with following(connector, GONE_FOR_GOOD) as registry:
        chat = await registry.attach("c")
        await pausing.pause(chat, by=ME, resume_after_s=0.05)
        connector.connections["c"][0].shut(None)
        await happens(lambda: chat.record.pause.undelivered)
        connector.refuse_posts = None
        await happens(lambda: connector.posted)


async def test_nobody_is_told_to_go_on_in_a_chat_that_the_service_does_not_know() -> None:
    """The caller has hung up: the promise is kept by there being nobody to keep it to."""
    connector = lost()
    connector.refuse_posts = NotTaken("HTTP 404", gone=True)
    async with following(connector, GONE_FOR_GOOD) as registry:
        chat = await registry.attach("c")
        await pausing.pause(chat, by=ME, resume_after_s=0.05)
        connector.connections["c"][0].shut(None)
        await happens(lambda: not chat.record.pause.paused)


async def test_the_end_of_the_process_resumes_also_where_there_is_no_socket() -> None:
    """A pause, the connection lost, then EOF on stdin: no resume went out."""
    connector = lost()
    async with following(connector, Pace(first_frame=0.05, quiet=0.02)) as registry:
        chat = await registry.attach("c")
        await pausing.pause(chat, by=ME, resume_after_s=300)
        connector.connections["c"][0].shut(None)
        await until(chat, "reconnecting")
    assert connector.posted == [RESUME]


async def test_what_a_resume_by_rest_needs_is_loaded_when_the_first_pause_begins() -> None:
    """Loading takes half a second, and at the end of the process there is one for all. It never holds the loop."""
    threads: list[int] = []

    def load() -> None:
        threads.append(threading.get_ident())
        raise OSError("no certificates")  # which is of no interest before something is posted

    connector = lost()
    async with following(connector, make_ready=load) as registry:
        chat = await registry.attach("c")
        await anyio.lowlevel.checkpoint()
        assert not threads, "a server that needs no REST does not load it"
        for _ in range(2):
            await pausing.pause(chat, by=ME, resume_after_s=300)
            await happens(lambda: threads)
            await pausing.resume(chat, by=ME)
    assert len(threads) == 1 and threads[0] != threading.get_ident()


async def test_the_end_of_the_process_resumes_by_rest_if_the_socket_takes_nothing() -> None:
    """A service that has stopped reading must not keep its caller silent."""

    posted: list[tuple[str, str]] = []

    class Stalled(Handing):
        async def post(self, chat_id: str, frame: str, within_s: float) -> None:
            posted.append((chat_id, frame))

    connector = Stalled(NeverTakes((frames.metadata(),)))
    async with following(connector) as registry:
        chat = await registry.attach("c")
        chat.record.pause.begin(300.0, now=0.0, elapsed=chat.clock.elapsed())
    assert posted == [RESUME]


async def test_a_pause_that_was_not_to_end_by_itself_is_left_as_it_is() -> None:
    """`resume_after_s=0` is a decision of the agent's, which the end of this server does not undo."""
    connector = lost()
    async with following(connector) as registry:
        chat = await registry.attach("c")
        await pausing.pause(chat, by=ME, resume_after_s=0)
    assert connector.posted == []
    assert connector.connections["c"][0].sent == ['{"type":"pause_assistant_message"}']


async def test_a_chat_that_is_detached_while_nothing_can_be_delivered_is_resumed_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The agent that paused has gone, the process has not: the promise stands."""
    monkeypatch.setattr(auto_resume, "WRITE_S", 0.1)
    connector = lost()
    connector.refuse_posts = NotTaken("away")
    async with following(connector, GONE_FOR_GOOD) as registry:
        chat = await registry.attach("c")
        await pausing.pause(chat, by=ME, resume_after_s=0.2)
        connector.connections["c"][0].shut(None)
        await registry.detach("c")
        assert chat.record.pause.undelivered == "away"
        connector.refuse_posts = None
        await happens(lambda: connector.posted)
    assert connector.posted == [RESUME]


async def test_a_pause_that_outlived_a_detach_belongs_to_who_attaches_next() -> None:
    """Else its resume would end the next pause in the middle, and `get_chat` would not know of either."""
    connector = MemoryConnector((frames.metadata(),), (frames.metadata(),))
    connector.refuse_posts = NotTaken("away")
    async with following(connector) as registry:
        chat = await registry.attach("c")
        await pausing.pause(chat, by=ME, resume_after_s=300)
        connector.connections["c"][0].abort()
        await registry.detach("c")
        assert chat.record.pause.promised
        again = await registry.attach("c")
        assert again is not chat and again.record.pause.promised and not chat.record.pause.paused
        await pausing.resume(again, by=ME)
        assert not again.record.pause.paused
    assert connector.posted == [] and connector.connections["c"][-1].sent == [RESUME[1]]


async def test_a_pause_ends_in_time_when_somebody_sets_the_wall_clock_back() -> None:
    """An hour back, and the caller had a mute assistant for an hour."""
    clock, connector = HandClock(), MemoryConnector((frames.metadata(),))
    async with following(connector, clock=clock) as registry:
        async with anyio.create_task_group() as group:
            group.start_soon(registry.attach, "c")
            await clock.advance(10)
        chat = registry.get("c")
        await pausing.pause(chat, by=ME, resume_after_s=60)
        clock.set_back(3600)
        await clock.advance(59)
        assert chat.record.pause.paused
        await clock.advance(2)
        assert not chat.record.pause.paused
        assert connector.connections["c"][0].sent[-1] == RESUME[1]


async def test_a_pause_that_ran_out_while_the_machine_slept_ends_as_soon_as_it_wakes() -> None:
    """The timer went on where it stood: a laptop closed for an hour kept the caller waiting for another one."""
    clock, connector = HandClock(), MemoryConnector((frames.metadata(),))
    async with following(connector, clock=clock) as registry:
        async with anyio.create_task_group() as group:
            group.start_soon(registry.attach, "c")
            await clock.advance(10)
        chat = registry.get("c")
        await pausing.pause(chat, by=ME, resume_after_s=300)
        await settle()
        clock.jump(3600)
        await clock.advance(0)
        assert not chat.record.pause.paused


async def test_a_listener_that_fails_costs_nobody_else_anything(caplog: pytest.LogCaptureFixture) -> None:
    """It failed the chat, and during a pause left it marked as paused with nothing written."""
    connector = MemoryConnector((frames.metadata(),))
    async with following(connector) as registry:
        chat = await registry.attach("c")
        heard: list[str] = []

        def fails(event: Event) -> None:
            raise RuntimeError("mine")

        chat.listeners.add(fails)
        chat.listeners.add(lambda event: heard.append(event.type))
        await pausing.pause(chat, by=ME, resume_after_s=60)
        assert connector.connections["c"][0].sent == ['{"type":"pause_assistant_message"}']
        connector.connections["c"][0].push(frames.user("still here", 1))
        while "user_message" not in heard:
            await anyio.lowlevel.checkpoint()
        assert chat.state == "live"
    assert "a listener failed" in caplog.text


async def test_a_command_that_waits_is_not_written_on_a_log_that_has_not_caught_up() -> None:
    """What the outage held may be "WAIT, stop!": 20 of 20 lines went out over it."""
    connector = MemoryConnector((frames.metadata(),))
    async with following(connector) as registry:
        chat = await registry.attach("c")
        cursors = registry.house.ledger.cursors
        guarded = saying("hi", condition=UnlessUserSpoke(cursors, cursors.read("latest"), "latest"), patience_s=0.05)
        chat.record.catching_up = True
        with pytest.raises(NotSent, match="nobody can tell yet"):
            await chat.send(guarded)
        await chat.send(saying("this depends on nothing"))
        chat.record.catching_up = False
        await chat.send(guarded)
    sent = [UserInput.model_validate_json(frame).text for frame in connector.connections["c"][0].sent]
    assert sent == ["this depends on nothing", "hi"]


async def test_a_fault_of_ours_in_one_resume_costs_neither_it_nor_those_of_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It ended the timers of all chats, so that every caller whose chat was paused got a mute assistant."""
    broken = FailsOn("resume_assistant_message", first=(frames.metadata(),))
    clock, connector = HandClock(), Handing(broken, MemoryTransport((frames.metadata(),)))
    async with following(connector, Pace(), clock=clock) as registry:
        for chat_id in ("well", "broken"):
            async with anyio.create_task_group() as group:
                group.start_soon(registry.attach, chat_id)
                await clock.advance(9)
        for chat_id, seconds in (("broken", 10), ("well", 20)):
            await pausing.pause(registry.get(chat_id), by=ME, resume_after_s=seconds)
        await clock.advance(15)
        pause = registry.get("broken").record.pause
        assert pause.promised and pause.undelivered == "a fault of this server: RuntimeError"
        await clock.advance(5)
        assert not registry.get("well").record.pause.paused
        broken.mended = True
        await clock.advance(60)
        assert not registry.get("broken").record.pause.paused
    assert "resume failed" in caplog.text
