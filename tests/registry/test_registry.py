"""The registry on the in-memory connector: what sockets would only show by luck."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import repeat

import anyio
import pytest

from evi_mcp.chat.events import Event
from evi_mcp.chat.log import Position
from evi_mcp.errors import AttachRefused, ChatNotAttached, InvalidArgument, MaybeSent, NotSent
from evi_mcp.protocol.commands import UserInput
from evi_mcp.registry import actions, live_chat
from evi_mcp.registry import registry as registry_module
from evi_mcp.registry.live_chat import LiveChat
from evi_mcp.registry.pump import Pace
from evi_mcp.registry.registry import ChatRegistry
from evi_mcp.upstream.memory import MemoryConnector, MemoryTransport
from evi_mcp.upstream.reconnect import backoff
from evi_mcp.upstream.transport import Closed, Connector, Refused, Unreachable
from tests import frames

pytestmark = pytest.mark.anyio


def at_once() -> Iterator[float]:
    return repeat(0.0)


QUICK = Pace(first_frame=0.05, quiet=0.02, long_quiet=0.2, replay=0.5, delays=at_once)


@asynccontextmanager
async def following(
    connector: Connector | MemoryConnector, pace: Pace = QUICK, **limits: int
) -> AsyncIterator[ChatRegistry]:
    with anyio.fail_after(10):
        async with ChatRegistry(connector, pace=pace, **limits) as registry:
            yield registry


async def until(chat: LiveChat, state: str) -> None:
    while chat.state != state:
        await chat.changed()


async def test_it_can_be_used_without_a_network() -> None:
    """The in-memory connector is shipped: embedding and tests need no socket."""
    connector = MemoryConnector((frames.metadata("c"), frames.user("Hello?", 1)))
    async with following(connector) as registry:
        chat = await registry.attach("c")
        assert repr(registry) == "<ChatRegistry [<LiveChat c: live, 3 events>]>"
        receipt = await chat.send(UserInput.of(text="hi"), by="me")
        assert receipt.command == "user_input"
        [transport] = connector.connections["c"]
        assert await transport.wait_sent(1) == ['{"type":"user_input","text":"hi"}']
    assert transport.closed_with == 1000


async def test_attaching_is_one_connection_however_many_ask_at_once() -> None:
    """Our contract (section 3)."""
    connector = MemoryConnector((frames.metadata(),))
    async with following(connector) as registry, anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(registry.attach, "c")
    assert connector.attempts == 1


async def test_all_who_wait_for_an_attach_that_fails_are_told_and_nothing_is_left() -> None:
    """Our contract (section 3); the next attempt starts afresh."""
    connector = MemoryConnector(Refused(403), (frames.metadata(),))
    told = []
    async with following(connector) as registry:

        async def attach() -> None:
            with pytest.raises(AttachRefused, match="HTTP 403"):
                await registry.attach("c")
            told.append(1)

        async with anyio.create_task_group() as group:
            group.start_soon(attach)
            group.start_soon(attach)
        assert (len(told), registry.chats()) == (2, [])
        assert (await registry.attach("c")).state == "live"


async def test_an_agent_that_gives_up_on_attaching_leaves_the_chat_to_the_others() -> None:
    """Cancelling a call must not tear down what another agent relies on."""
    connector = MemoryConnector(Unreachable("down"), Unreachable("down"), (frames.metadata(),))
    async with following(connector, Pace(first_frame=0.05, quiet=0.02, delays=lambda: repeat(0.1))) as registry:
        with anyio.move_on_after(0.05):
            await registry.attach("c")
        assert (await registry.attach("c")).state == "live"


async def test_a_chat_that_keeps_talking_counts_as_caught_up_in_time_and_loses_nothing() -> None:
    """Our contract (section 3): at most 5 s in all (here 0.5), though no gap ever shows where the replay ends."""
    said = [frames.metadata(), frames.assistant("a", "m-1"), frames.end()]
    connector = MemoryConnector(tuple(said))
    async with following(connector) as registry:
        chat = await registry.attach("c")
        connector.connections["c"][0].shut(None)
        await until(chat, "reconnecting")
        await chat.changed()
        transport = connector.connections["c"][1]
        number = 0
        while chat.state != "live":
            number += 1
            transport.push(frames.audio("m-2", number))
            if number % 10 == 0:
                transport.push(frames.end())
            await anyio.sleep(0.005)
        types = [event.type for event in chat.record.log]
        assert types.count("audio_output") >= number - 2
        assert types.count("assistant_end") == 1 + number // 10
        assert types.count("assistant_message") == 1


async def test_a_frame_that_arrives_slowly_is_no_gap() -> None:
    """A large frame on a slow line takes longer than the gap that ends a replay: bytes count, not frames."""

    class Trickling(MemoryTransport):
        trickle = True

        @property
        def heard_at(self) -> float:
            return anyio.current_time() if self.trickle else self._heard_at

        @heard_at.setter
        def heard_at(self, value: float) -> None:
            self._heard_at = value

    transport = Trickling((frames.metadata(),))
    async with following(Handing(transport), Pace(first_frame=0.05, quiet=0.02, replay=30)) as registry:
        async with anyio.create_task_group() as group:
            group.start_soon(registry.attach, "c")
            await anyio.sleep(0.2)
            chat = registry.get("c")
            assert chat.state == "connecting"
            transport.push(frames.user("the large one", 1))
            transport.trickle = False
        assert chat.state == "live"
        assert all(event.replayed for event in chat.record.log if event.type != "chat_state")


class Handing:
    """A connector that hands out this one transport, and then nothing."""

    def __init__(self, transport: MemoryTransport) -> None:
        self._transports = [transport]

    async def connect(self, chat_id: str) -> MemoryTransport:
        if not self._transports:
            raise Unreachable("nothing more")
        return self._transports.pop()

    async def explain_refusal(self, chat_id: str, status: int) -> str:
        return f"HTTP {status}"


class BreaksOnWrite(MemoryTransport):
    """The connection is lost while a frame is being written."""

    async def send(self, frame: str) -> None:
        self.sent.append(frame)
        self.shut(None)
        raise Closed(None)


class NeverTakes(MemoryTransport):
    """The other side has stopped reading, and the buffers are full."""

    async def send(self, frame: str) -> None:
        await anyio.sleep_forever()


async def test_a_break_during_a_write_is_told_as_what_it_is_and_never_retried() -> None:
    """Our contract (section 5): it may have reached the chat, so only reading can tell."""
    transport = BreaksOnWrite((frames.metadata(),))
    async with following(Handing(transport)) as registry:
        chat = await registry.attach("c")
        with pytest.raises(MaybeSent, match="may or may not have reached"):
            await chat.send(UserInput.of(text="hi"), by="me")
        assert len(transport.sent) == 1
        assert [event.command for event in chat.record.log if event.type == "command"] == ["user_input"]


async def test_a_stalled_socket_does_not_hold_an_agent_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command may be in a buffer: that is said, and the agent goes on."""
    monkeypatch.setattr(live_chat, "WRITE_TIMEOUT_S", 0.05)
    async with following(Handing(NeverTakes((frames.metadata(),)))) as registry:
        chat = await registry.attach("c")
        with pytest.raises(MaybeSent):
            await chat.send(UserInput.of(text="hi"), by="me")


async def test_a_stalled_socket_does_not_hold_the_end_either() -> None:
    """A pause would be resumed before closing; a service that takes nothing cannot delay that."""
    transport = NeverTakes((frames.metadata(),))
    async with following(Handing(transport)) as registry:
        chat = await registry.attach("c")
        chat.record.paused = True
        chat.dead_man = anyio.CancelScope()
        await registry.detach("c")
    assert transport.closed_with == 1000


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
                    await chat.send(UserInput.of(text="hi"), by="me")

            group.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            await registry.detach("c")


async def test_reconnecting_goes_on_until_the_time_is_up_and_then_fails() -> None:
    """Our contract (section 2, EVI_MCP_RECONNECT_FOR)."""
    connector = MemoryConnector((frames.metadata(),), Unreachable("no route"))
    pace = Pace(reconnect_for=0.2, first_frame=0.05, quiet=0.02, delays=lambda: repeat(0.01))
    async with following(connector, pace) as registry:
        chat = await registry.attach("c")
        connector.connections["c"][0].shut(1012, "restart")
        await until(chat, "failed")
        assert chat.record.lifecycle.reason == "gave up after 0.2 s without a connection; last: no route"
        assert connector.attempts > 3
        reasons = [event.reason for event in chat.record.log if event.state == "reconnecting"]
        assert reasons == ['the service closed the connection with 1012: "restart"', "no route"]


async def test_a_condition_on_a_cursor_that_is_too_old_to_tell_refuses() -> None:
    """What the user said since may have been dropped from the log: then nobody can say that nothing was."""
    said = [frames.metadata(), *(frames.assistant(f"line {n}", f"m-{n}") for n in range(20))]
    async with following(MemoryConnector(tuple(said)), max_events=5) as registry:
        chat = await registry.attach("c")
        for cursor in (registry.cursors.at(2), "zzz-7"):
            with pytest.raises(InvalidArgument, match="too old to tell"):
                actions.refuse_if_user_spoke(registry, chat, registry.cursors.read(cursor))
        actions.refuse_if_user_spoke(registry, chat, Position(chat.record.log.dropped_seq))


async def test_the_timer_of_a_pause_tries_until_a_resume_is_written() -> None:
    """A second resume does no harm, a missing one leaves the caller with a mute assistant."""
    connector = MemoryConnector((frames.metadata(),), Unreachable("down"), Unreachable("down"), (frames.metadata(),))
    async with following(connector, Pace(first_frame=0.05, quiet=0.02, delays=lambda: repeat(0.05))) as registry:
        chat = await registry.attach("c")
        await actions.pause(registry, chat, by="me", resume_after_s=0.01)
        connector.connections["c"][0].shut(None)
        while len(connector.connections["c"]) < 2:
            await chat.changed()
        assert await connector.connections["c"][1].wait_sent(1) == ['{"type":"resume_assistant_message"}']


async def test_listeners_may_come_and_go_while_they_are_called() -> None:
    """A wait that wakes leaves at once; that must not cost another one its event."""
    connector = MemoryConnector((frames.metadata(),))
    async with following(connector) as registry:
        chat = await registry.attach("c")
        seen: list[str] = []

        def once(event: Event) -> None:
            seen.append("once")
            chat.remove_listener(once)

        both = anyio.Event()

        def always(event: Event) -> None:
            seen.append("always")
            if seen.count("always") == 2:
                both.set()

        chat.add_listener(once)
        chat.add_listener(always)
        connector.connections["c"][0].push(frames.user("a", 1))
        connector.connections["c"][0].push(frames.user("b", 2))
        await both.wait()
        assert seen == ["once", "always", "always"]


def test_delays_grow_from_a_quarter_to_thirty_seconds() -> None:
    """Our contract (section 3): exponential backoff with jitter, from 0.25 s to 30 s, for ever."""
    delays = backoff()
    taken = [next(delays) for _ in range(200)]
    assert all(0.25 <= delay <= 30 for delay in taken)
    assert taken[0] == 0.25 and min(taken[20:]) >= 15
    assert len(set(taken[20:])) > 100


async def test_an_answer_of_which_nobody_knows_whether_it_arrived_can_be_given_again() -> None:
    """If it was lost, somebody has to be able to free the caller; the ledger says who perhaps did."""
    transport = BreaksOnWrite((frames.metadata(), frames.tool_call("call_1")))
    async with following(Handing(transport)) as registry:
        chat = await registry.attach("c")
        with pytest.raises(MaybeSent):
            await actions.answer_tool_call(chat, "call_1", "x", by="me")
        [call] = chat.record.tool_calls.pending()
        assert call.answered_by == "perhaps me"


async def test_the_timer_of_an_earlier_pause_does_not_end_a_later_one() -> None:
    """The last pause counts: here one that is not to end by itself, asked for while the first timer ran out."""
    connector = MemoryConnector((frames.metadata(),), Unreachable("down"), (frames.metadata(),))
    async with following(connector, Pace(first_frame=0.05, quiet=0.02, delays=lambda: repeat(0.1))) as registry:
        chat = await registry.attach("c")
        await actions.pause(registry, chat, by="a", resume_after_s=0.05)
        connector.connections["c"][0].shut(None)
        await until(chat, "reconnecting")
        await actions.pause(registry, chat, by="b", resume_after_s=0)
        await anyio.wait_all_tasks_blocked()
        sent = [event.command for event in chat.record.log if event.type == "command"]
        assert sent[-1] == "pause_assistant_message" and chat.record.paused
        await actions.resume(registry, chat, by="a")
        await actions.pause(registry, chat, by="a", resume_after_s=60)
        await actions.pause(registry, chat, by="b", resume_after_s=0)
        assert (chat.dead_man, chat.record.resumes_at) == (None, None)


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
            group.start_soon(lambda: actions.pause(registry, chat, by="a", resume_after_s=60))
            await anyio.wait_all_tasks_blocked()
            await registry.detach("c")
    assert [frame.split('"')[3] for frame in transport.sent] == [
        "pause_assistant_message",
        "resume_assistant_message",
    ]


async def test_a_replay_that_stalls_in_the_middle_doubles_nothing() -> None:
    """One lost packet is enough for a gap; what is known to follow shows that the replay is not over."""
    said = [
        frames.metadata(),
        *(item for n in range(4) for item in (frames.assistant(f"{n}", f"m-{n}"), frames.end(), frames.typed("yes"))),
    ]
    connector = MemoryConnector(tuple(said), tuple(said[:5]), ())
    async with following(connector) as registry:
        chat = await registry.attach("c")
        before = chat.record.log.appended
        connector.connections["c"][0].shut(None)
        while len(connector.connections["c"]) < 2:
            await chat.changed()
        await anyio.sleep(QUICK.quiet * 4)
        assert chat.state == "reconnecting"
        for frame in said[5:]:
            connector.connections["c"][1].push(frame)
        await until(chat, "live")
        events = list(chat.record.log)[before:]
        assert [event.type for event in events] == ["chat_state", "chat_state"]


async def test_a_chat_that_speaks_on_is_live_again_soon_after_its_history_is_back() -> None:
    """Audio leaves no gap; commands must not wait for one."""
    said = [frames.metadata(), frames.assistant("a", "m-1"), frames.end()]
    connector = MemoryConnector(tuple(said))
    async with following(
        connector, Pace(first_frame=0.05, quiet=0.02, long_quiet=0.1, replay=60, delays=at_once)
    ) as registry:
        chat = await registry.attach("c")
        connector.connections["c"][0].shut(None)
        await until(chat, "reconnecting")
        while len(connector.connections["c"]) < 2:
            await chat.changed()
        number = 0
        while chat.state != "live":
            number += 1
            connector.connections["c"][1].push(frames.audio("m-2", number))
            await anyio.sleep(0.005)


async def test_a_chat_that_failed_before_it_was_live_can_be_tried_again() -> None:
    """There is nothing in it to read; what was refused before may be allowed by now."""
    connector = MemoryConnector(Unreachable("down"), Refused(401), (frames.metadata(),))
    pace = Pace(first_frame=0.05, quiet=0.02, delays=lambda: repeat(0.2))
    async with following(connector, pace) as registry:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(registry_module, "ATTACH_PATIENCE_S", 0.05)
            chat = await registry.attach("c")
        await until(chat, "failed")
        assert registry.chats() == [chat]
        assert (await registry.attach("c")).state == "live"


async def test_an_attach_that_its_agent_gave_up_on_leaves_nothing_if_it_fails() -> None:
    """Our contract (section 3)."""
    connector = MemoryConnector(Unreachable("down"), Refused(404))
    async with following(connector, Pace(delays=lambda: repeat(0.05))) as registry:
        with anyio.move_on_after(0.01):
            await registry.attach("c")
        chat = registry.get("c")
        await until(chat, "failed")
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ChatNotAttached):
            registry.get("c")


async def test_what_runs_beside_the_chats_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    """A fault in a notification must not end the supervision of every call."""
    connector = MemoryConnector((frames.metadata(),))
    async with following(connector) as registry:

        async def faulty() -> None:
            raise RuntimeError("a bug")

        registry.start(faulty)
        assert (await registry.attach("c")).state == "live"
    assert "a bug" in caplog.text


async def test_a_chat_whose_agent_did_not_wait_is_attached_all_the_same() -> None:
    """Others would not see it, and nobody could tell why the limit of chats is reached."""
    connector = MemoryConnector(Unreachable("down"), (frames.metadata(), frames.user("hi", 1)))
    async with following(connector, Pace(first_frame=0.05, quiet=0.02, delays=lambda: repeat(0.05))) as registry:
        heard: list[str] = []
        registry.add_listener(lambda event: heard.append(event.type))
        with anyio.move_on_after(0.01):
            await registry.attach("c")
        chat = registry.get("c")
        await until(chat, "live")
        assert registry.chats() == [chat]
        assert ["chat_state", *heard] == [event.type for event in chat.record.log]


async def test_a_cursor_over_all_chats_loses_nothing_of_one_that_is_being_attached() -> None:
    """Its history takes numbers while it comes in; a reader of all chats must not be moved past them."""
    connector = MemoryConnector((frames.metadata(),))
    async with following(connector, Pace(first_frame=0.05, quiet=0.1)) as registry:
        await registry.attach("a")
        async with anyio.create_task_group() as group:
            group.start_soon(registry.attach, "b")
            await anyio.wait_all_tasks_blocked()
            connector.connections["b"][0].push(frames.tool_call("early"))
            await anyio.wait_all_tasks_blocked()
            seen = [event.tool_call_id for chat in registry.chats() for event in chat.record.log]
            assert "early" in seen


async def test_a_paused_chat_that_is_detached_while_it_cannot_be_resumed_says_so() -> None:
    """The timer goes with it, and there is no socket to resume on: the agent has to know."""
    connector = MemoryConnector((frames.metadata(),), Unreachable("down"))
    async with following(connector, Pace(first_frame=0.05, quiet=0.02)) as registry:
        chat = await registry.attach("c")
        await actions.pause(registry, chat, by="a", resume_after_s=60)
        connector.connections["c"][0].shut(None)
        await until(chat, "reconnecting")
        assert (await registry.detach("c")).record.paused


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
        await actions.pause(registry, chat, by="a", resume_after_s=resume_after_s)
        with pytest.raises(MaybeSent):
            await actions.resume(registry, chat, by="a")
        assert chat.record.paused
        assert (chat.dead_man is not None) == (resume_after_s > 0)


async def test_a_replay_that_lacks_the_newest_interim_transcript_holds_nobody_up() -> None:
    """A cut in mid-sentence leaves an interim transcript that no replay has to repeat."""
    connector = MemoryConnector((frames.metadata(), frames.user("Hello", 1)))
    pace = Pace(first_frame=0.05, quiet=0.02, long_quiet=60, replay=60, delays=at_once)
    async with following(connector, pace) as registry:
        chat = await registry.attach("c")
        connector.connections["c"][0].push(frames.user("My par", 2000, interim=True))
        connector.connections["c"][0].shut(None)
        await until(chat, "reconnecting")
        await until(chat, "live")
