"""Attaching, detaching and listening on the in-memory connector: what sockets would only show by luck."""

import gc
import weakref
from contextlib import suppress
from dataclasses import replace
from itertools import repeat

import anyio
import anyio.lowlevel
import pytest

from evi_mcp.chat.events import Event
from evi_mcp.chat.pages import Filter
from evi_mcp.chat.triggers import OnSilence
from evi_mcp.errors import AttachRefused, ChatNotAttached, TooManyWaits
from evi_mcp.supervision import registry as registry_module
from evi_mcp.supervision.following import Pace
from evi_mcp.supervision.listeners import Listeners
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.supervision.waiting import WokenBy
from evi_mcp.upstream.memory import MemoryConnector, MemoryTransport
from evi_mcp.upstream.transport import Refused, Unreachable
from tests import frames
from tests.supervision.following import QUICK, Flooding, Handing, Refusing, following, happens, saying, until, waiting

pytestmark = pytest.mark.anyio


async def test_it_can_be_used_without_a_network() -> None:
    """The in-memory connector is shipped: embedding and tests need no socket."""
    connector = MemoryConnector((frames.metadata("c"), frames.user("Hello?", 1)))
    async with following(connector) as registry:
        chat = await registry.attach("c")
        assert repr(registry) == "<ChatRegistry [<LiveChat c: live, 3 events>]>"
        receipt = await chat.send(saying("hi"))
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


async def test_listeners_may_come_and_go_while_they_are_called() -> None:
    """A wait that wakes leaves at once; that must not cost another one its event."""
    connector = MemoryConnector((frames.metadata(),))
    async with following(connector) as registry:
        chat = await registry.attach("c")
        seen: list[str] = []

        def once(event: Event) -> None:
            seen.append("once")
            chat.listeners.remove(once)

        both = anyio.Event()

        def always(event: Event) -> None:
            seen.append("always")
            if seen.count("always") == 2:
                both.set()

        chat.listeners.add(once)
        chat.listeners.add(always)
        connector.connections["c"][0].push(frames.user("a", 1))
        connector.connections["c"][0].push(frames.user("b", 2))
        await both.wait()
        assert seen == ["once", "always", "always"]


async def test_who_has_named_types_is_told_of_these_alone_and_of_nothing_once_gone() -> None:
    """A thousand waits on a chat that never stops must not each be asked about each of its events."""
    listeners, seen = Listeners(), list[str]()
    all_types, messages = (lambda event, who=who: seen.append(f"{who} {event.type}") for who in ("all", "messages"))
    listeners.add(messages, {"user_message", "tool_call"})
    listeners.add(all_types)

    def tell(*types: str) -> list[str]:
        seen.clear()
        for number, name in enumerate(types):
            listeners.tell(Event(seq=number, chat_id="c", at=0.0, type=name))
        return seen.copy()

    assert tell("user_message", "error") == ["all user_message", "messages user_message", "all error"]
    listeners.add(messages, {"error"})
    assert (tell("user_message", "error"), len(listeners)) == (["all user_message", "all error", "messages error"], 2)
    listeners.remove(all_types)
    assert tell("user_message", "error") == ["messages error"]
    listeners.remove(messages)
    listeners.remove(messages)
    assert (tell("user_message", "error"), len(listeners)) == ([], 0)


async def test_a_chat_that_floods_lets_others_have_their_turn() -> None:
    """Frames that are here already are received without waiting: without a break, nothing else would ever run."""
    flooding = Flooding()
    async with following(Handing(flooding)) as registry:
        await until(registry.follow("c"), "live")
        assert flooding.goes_on, "an agent was told only when all had come"


async def test_a_chat_that_floods_after_its_end_lets_others_have_their_turn_too() -> None:
    """What comes after the `error` that ends a chat is still taken in, for a second, and no longer."""
    flooding = Flooding(frames.metadata(), frames.error("E0715", "max_duration_timeout"))
    async with following(Handing(flooding), replace(QUICK, at_most=0)) as registry:  # all of it is live
        chat = await registry.attach("c")
        await until(chat, "ended")
        assert flooding.goes_on, "an agent was told only when all had come"


@pytest.mark.parametrize("all_chats", [True, False])
async def test_a_wait_that_is_called_off_listens_no_more(all_chats: bool) -> None:
    """A listener that stays would be called for every event until the process ends."""
    async with following(MemoryConnector((frames.metadata(),))) as registry:
        chat = await registry.attach("c")
        listening = len(chat.listeners), len(registry.listeners)
        with anyio.CancelScope() as scope:
            with waiting(registry, None if all_chats else [chat], Filter(frozenset({"never"}))) as wait:
                assert (len(chat.listeners), len(registry.listeners)) != listening
                scope.cancel()
                await wait.sleep(60)
        assert (len(chat.listeners), len(registry.listeners)) == listening


async def test_an_interruption_begins_a_silence_for_who_sleeps_already() -> None:
    """EVI's voice comes faster than it is heard; what was not heard yet when the user cuts it short never will be."""
    connector = MemoryConnector((frames.metadata(),))
    async with following(connector) as registry:
        chat = await registry.attach("c")
        minute = frames.frame("audio_output", id="m", index=0, data="A" * 128_000 * 60)
        connector.connections["c"][0].push(minute)
        with waiting(registry, [chat], Filter(frozenset({"audio_output"}))) as wait:
            if chat.record.spoke_at < chat.clock.elapsed() + 30:
                await wait.sleep(5)
        with waiting(registry, [chat], Filter(), [OnSilence(seconds=0.2)]) as wait:
            async with anyio.create_task_group() as group:
                group.start_soon(wait.sleep, 60)
                await anyio.lowlevel.checkpoint()
                connector.connections["c"][0].push(frames.frame("user_interruption", time=1))
        assert wait.by is WokenBy.TRIGGER


async def test_an_attempt_that_was_refused_is_forgotten_at_once() -> None:
    """It may have taken in a long history before; the garbage collector looks at what is old once in a blue moon."""
    attempts: list[weakref.ref[LiveChat]] = []
    gc.disable()
    try:
        async with following(Refusing()) as registry:
            registry.on_chats_changed(lambda: attempts.extend(map(weakref.ref, registry.chats())))
            with suppress(AttachRefused):
                await registry.attach("c")
            while any(attempt() for attempt in attempts):  # noqa: ASYNC110 - until its task has ended, too
                await anyio.sleep(0.01)
        assert attempts
    finally:
        gc.enable()


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
        registry.listeners.add(lambda event: heard.append(event.type))
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


async def test_the_calls_that_wait_are_bounded_and_the_next_one_is_told() -> None:
    """20,000 of them took 632 MiB; who is refused can do the same with one."""
    connector = MemoryConnector((frames.metadata(),))
    async with following(connector) as registry:
        chat = await registry.attach("c")
        registry.waits.most = 2
        with waiting(registry, None, Filter()), waiting(registry, [chat], Filter()):
            with pytest.raises(TooManyWaits, match="2 calls are waiting already"), waiting(registry, None, Filter()):
                pass
            assert registry.waits.count == 2
        with waiting(registry, None, Filter()):
            pass
        assert registry.waits.count == 0


async def test_attaching_to_a_chat_that_is_over_tries_again_and_nothing_comes_twice() -> None:
    """Issue 10, 24: it may have been resumed, or the network be back. What is known stays known; one socket for all."""
    connector = MemoryConnector((frames.metadata(), frames.user("one", 100)))
    async with following(connector) as registry:
        chat = await registry.attach("c")
        connector.connections["c"][0].shut(1000)
        await until(chat, "ended")
        async with anyio.create_task_group() as group:
            group.start_soon(registry.attach, "c")
            group.start_soon(registry.attach, "c")
        assert registry.chats() == [chat] and chat.state == "live"
        [socket] = [socket for socket in connector.connections["c"] if socket.is_open]
        socket.push(frames.user("two", 200))
        await happens(lambda: chat.record.turns.last(1)[0].text == "one two")
        said = [event.text for event in chat.record.log if event.type == "user_message"]
        states = [event.state for event in chat.record.log if event.type == "chat_state"]
        assert (said, states) == (["one", "two"], ["live", "ended", "reconnecting", "live"])


@pytest.mark.parametrize("refusal", [Refused(404), Unreachable("no route")])
async def test_a_chat_that_is_over_and_cannot_be_attached_again_stays_as_it_is(refusal: Refused | Unreachable) -> None:
    """Its end, and the reason, are still what there is to read."""
    connector = MemoryConnector((frames.metadata(),), refusal)
    async with following(connector) as registry:
        chat = await registry.attach("c")
        connector.connections["c"][0].shut(1000, "bye")
        await until(chat, "ended")
        before = (chat.record.log.last_seq, chat.record.reason)
        assert await registry.attach("c") is chat
        assert (chat.record.log.last_seq, chat.record.reason) == before and connector.attempts == 2


async def test_a_chat_that_is_attached_while_its_detach_goes_on_is_followed() -> None:
    """The end of the old one, whose socket took its time to close, left the new one without a single event."""

    class ClosesLate(MemoryTransport):
        async def close(self) -> None:
            await goes_on.wait()
            await super().close()

    class Late(MemoryConnector):
        async def connect(self, chat_id: str) -> MemoryTransport:
            transport = ClosesLate((frames.metadata(), frames.user("Hello?", 1)))
            self.connections[chat_id].append(transport)
            return transport

    goes_on, connector = anyio.Event(), Late()
    async with following(connector) as registry:
        await registry.attach("c")
        async with anyio.create_task_group() as group:
            group.start_soon(registry.detach, "c")
            await happens(lambda: registry.find("c") is None)
            chat = registry.follow("c")
            goes_on.set()
        await registry.attach("c")
        connector.connections["c"][-1].push(frames.user("Are you there?", 5000))
        await happens(lambda: [event.text for event in chat.record.log][-1] == "Are you there?")
        await chat.send(saying("Yes."))


async def test_nothing_is_attached_once_the_process_is_ending() -> None:
    """A call that was on its way would open a socket that nobody closes, and hold the end up."""
    connector = MemoryConnector((frames.metadata(),))
    async with following(connector) as registry:
        await registry.attach("c")
        await registry.stop()
        for chat_id in ("c", "another"):
            with pytest.raises(AttachRefused, match="this server is ending"):
                await registry.attach(chat_id)
    assert connector.attempts == 1
