"""Barging in: whatever happens between the pause and the resume, nobody is left with a mute assistant."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from evi_mcp.errors import EviMcpError, MaybeSent, NotSupported, UserSpoke
from evi_mcp.protocol.commands import AssistantInput
from evi_mcp.supervision.actions import pausing
from evi_mcp.supervision.actions.barging import BargeIn, barge_in
from evi_mcp.supervision.actions.speaking import UnlessUserSpoke
from evi_mcp.supervision.following import Pace
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.supervision.refusals import BrokenOff
from evi_mcp.supervision.registry import ChatRegistry
from evi_mcp.upstream.memory import MemoryConnector, MemoryTransport
from evi_mcp.upstream.transport import Closed, Transport, Unreachable
from tests import frames
from tests.clocks import HandClock, settle
from tests.supervision.following import ANOTHER, ME, FailsOn, Handing, following, happens

pytestmark = pytest.mark.anyio

PAUSE, LINE, RESUME = "pause_assistant_message", "assistant_input", "resume_assistant_message"
WORDS = "A colleague of mine is joining us now."


class Call:
    """A chat that is followed by a clock that the test moves, and a barge-in on it."""

    def __init__(self, clock: HandClock, registry: ChatRegistry, chat: LiveChat, transport: MemoryTransport) -> None:
        self.clock, self.registry, self.chat, self.transport = clock, registry, chat, transport
        self.done: BargeIn | None = None
        self.error: EviMcpError | None = None
        self.scope = anyio.CancelScope()

    @property
    def sent(self) -> list[str]:
        return [json.loads(frame)["type"] for frame in self.transport.sent]

    async def barge(self, *, guarded: bool = False, resume: bool = True, limit_s: float = 30.0) -> None:
        cursors = self.registry.house.ledger.cursors
        here = cursors.at(cursors.last_seq)
        guard = UnlessUserSpoke(cursors, cursors.read(here), here) if guarded else None
        command = AssistantInput.of(text=WORDS)
        try:
            with self.scope:
                self.done = await barge_in(self.chat, command, by=ME, guard=guard, resume=resume, limit_s=limit_s)
        except EviMcpError as error:
            self.error = error

    async def says(self, *made: str) -> None:
        for frame in made:
            self.transport.push(frame)
        await settle()


@asynccontextmanager
async def calling(
    *greeting: str, transport: MemoryTransport | None = None, connector: Any = None
) -> AsyncIterator[tuple[Call, Callable[..., None]]]:
    clock = HandClock()
    transport = transport or MemoryTransport(greeting or (frames.metadata(),))
    async with following(connector or Handing(transport), Pace(), clock=clock) as registry:
        async with anyio.create_task_group() as group:
            group.start_soon(registry.attach, "c")
            await clock.advance(9)
        call = Call(clock, registry, registry.get("c"), transport)
        async with anyio.create_task_group() as group:

            def start(**options: Any) -> None:
                async def run() -> None:
                    await call.barge(**options)

                group.start_soon(run)

            yield call, start
            await settle()
            group.cancel_scope.cancel()


async def test_evi_goes_on_when_its_turn_has_ended_and_its_voice_with_it() -> None:
    """A resume while the line is heard would have EVI talk over it."""
    async with calling() as (call, start):
        start()
        await settle()
        assert call.sent == [PAUSE, LINE]
        await call.says(frames.assistant(WORDS, "m-1", from_text=True), frames.audio("m-1", data="A" * 512_000))
        await call.says(frames.end())
        assert call.sent == [PAUSE, LINE], "four seconds of it are still to be heard"
        await call.clock.advance(4.1)
        assert call.sent == [PAUSE, LINE, RESUME]
        await settle()
    assert call.done is not None and call.done.paused is not None and call.done.resumed is not None
    assert call.done.line.confirmed_by is not None and call.done.pause_s == pytest.approx(4.1, abs=0.2)
    assert not call.chat.record.pause.paused


async def test_a_line_whose_end_nobody_shows_takes_as_long_as_saying_it() -> None:
    """Whether EVI ends its turn after a line that was given to it is not documented."""
    async with calling() as (call, start):
        start()
        await settle()
        await call.says(frames.assistant(WORDS, "m-1", from_text=True))
        await call.clock.advance(2)
        assert call.sent == [PAUSE, LINE]
        await call.clock.advance(3)
        assert call.sent == [PAUSE, LINE, RESUME]


async def test_who_talks_into_the_line_has_evi_go_on_at_once() -> None:
    """The line is over, and the person on the line waits for an answer."""
    async with calling() as (call, start):
        start()
        await settle()
        await call.says(frames.assistant(WORDS, "m-1", from_text=True), frames.audio("m-1", data="A" * 512_000))
        await call.says(frames.frame("user_interruption", time=5000))
        assert call.sent == [PAUSE, LINE, RESUME]


async def test_a_line_that_is_never_seen_ends_with_the_limit() -> None:
    """The dead-man timer of the pause does not depend on anything that comes after it."""
    async with calling() as (call, start):
        start(limit_s=20.0)
        await call.clock.advance(19)
        assert call.sent == [PAUSE, LINE]
        await call.clock.advance(2)
        assert call.sent == [PAUSE, LINE, RESUME]
    assert call.done is not None and call.done.line.confirmed_by is None
    assert not call.chat.record.pause.paused


async def test_the_guard_is_asked_before_the_pause() -> None:
    """What was said since must not be answered by silence."""
    async with calling() as (call, _):
        cursors = call.registry.house.ledger.cursors
        guard = UnlessUserSpoke(cursors, cursors.read(cursors.at(cursors.last_seq)), "here")
        await call.says(frames.user("No, stop!", 5000))
        with pytest.raises(UserSpoke):
            await barge_in(call.chat, AssistantInput.of(text=WORDS), by=ME, guard=guard, resume=True, limit_s=30)
        assert call.sent == [] and not call.chat.record.pause.paused


class SpeaksUp(MemoryTransport):
    """The user says something as soon as EVI is paused."""

    async def send(self, frame: str) -> None:
        await super().send(frame)
        if PAUSE in frame:
            self.push(frames.user("Hello? Is anybody there?", 9000))
            await settle()


async def test_a_line_that_is_refused_after_the_pause_has_evi_go_on() -> None:
    """The user has spoken in between: the line may not fit any more, and they wait for an answer."""
    async with calling(transport=SpeaksUp((frames.metadata(),))) as (call, start):
        start(guarded=True)
        await happens(lambda: call.error)
        assert call.sent == [PAUSE, RESUME]
    assert isinstance(call.error, BrokenOff) and isinstance(call.error.cause, UserSpoke)
    assert "Is anybody there?" in str(call.error) and "EVI was told to go on." in str(call.error)
    assert not call.chat.record.pause.paused


class BreaksOn(MemoryTransport):
    """The connection is lost while such a command is being written."""

    def __init__(self, kind: str) -> None:
        super().__init__((frames.metadata(),))
        self._kind = kind

    async def send(self, frame: str) -> None:
        if self._kind in frame:
            self.shut(None)
            raise Closed(None)
        await super().send(frame)


class Lossy(MemoryConnector):
    """The first connection is one that breaks; `back` is the next one, `None` if there is none but for posts."""

    def __init__(self, first: MemoryTransport, back: MemoryTransport | None) -> None:
        super().__init__(Unreachable("down"))
        self._transports = [first, *([back] if back else [])]
        if back is None:
            self.refuse_posts = None

    async def connect(self, chat_id: str) -> Transport:
        return self._transports.pop(0) if self._transports else await super().connect(chat_id)


@pytest.mark.parametrize("breaks_on", [PAUSE, LINE])
@pytest.mark.parametrize("comes_back", [False, True])
async def test_a_socket_that_is_lost_in_the_middle_has_evi_go_on_by_rest_or_when_it_is_back(
    breaks_on: str, comes_back: bool
) -> None:
    """Nobody knows whether the pause has arrived, or the line; the resume does no harm if it has not."""
    broken, back = BreaksOn(breaks_on), MemoryTransport((frames.metadata(),)) if comes_back else None
    connector = Lossy(broken, back)
    async with calling(transport=broken, connector=connector) as (call, start):
        start()
        await settle()
        await call.clock.advance(35)
        taken = [*(frame for _, frame in connector.posted), *(back.sent if back else [])]
        assert [json.loads(frame)["type"] for frame in taken] == [RESUME]
        assert not call.chat.record.pause.paused
    assert isinstance(call.error, BrokenOff) and isinstance(call.error.cause, MaybeSent)


async def test_a_fault_of_ours_in_the_middle_leaves_no_mute_assistant() -> None:
    """Nobody is told of it but the log, and the caller would hear nothing for ever."""
    async with calling(transport=FailsOn(LINE, first=(frames.metadata(),))) as (call, _):
        with pytest.raises(RuntimeError, match="boom"):
            await call.barge(limit_s=300.0)
        await call.clock.advance(5)
        assert call.sent == [PAUSE, RESUME]


@pytest.mark.parametrize("spoken", [False, True])
async def test_a_client_that_gives_up_leaves_no_mute_assistant(spoken: bool) -> None:
    """Many give up after five seconds, in the middle of the line: EVI goes on once that can be over."""
    async with calling() as (call, start):
        start(limit_s=300.0)
        await settle()
        if spoken:
            await call.says(frames.assistant(WORDS, "m-1", from_text=True))
        call.scope.cancel()
        await settle()
        assert call.sent == [PAUSE, LINE], "the line is being spoken"
        await call.clock.advance(5)
        assert call.sent == [PAUSE, LINE, RESUME]


async def test_the_end_of_the_process_leaves_no_mute_assistant() -> None:
    """Whatever ends it in a way that can be seen tells EVI to go on first."""
    async with calling() as (call, start):
        start(limit_s=300.0)
        await settle()
        await call.registry.stop()
        assert call.sent == [PAUSE, LINE, RESUME]


async def test_a_chat_that_takes_no_pause_is_spoken_to_all_the_same_and_says_so() -> None:
    """Bots of other makers take what they take; one that cannot go on again is not silenced either."""
    for supports, lacks in (([LINE], PAUSE), ([LINE, PAUSE], RESUME)):
        async with calling(frames.metadata(source="custom", supports=supports)) as (call, start):
            start()
            await call.clock.advance(3)
            assert call.sent == [LINE]
        assert call.done is not None and call.done.paused is None
        assert lacks in (call.done.not_paused or "")
    async with calling(frames.metadata(source="custom", supports=[PAUSE, RESUME])) as (call, start):
        start()
        await settle()
        assert isinstance(call.error, NotSupported) and call.sent == []


async def test_a_pause_of_somebody_else_is_neither_broken_nor_prolonged() -> None:
    """An agent that has paused the chat for longer goes on deciding when it ends."""
    async with calling() as (call, start):
        await pausing.pause(call.chat, by=ANOTHER, resume_after_s=100)
        start()
        await call.clock.advance(3)
        assert call.sent == [PAUSE, LINE] and call.chat.record.pause.paused
        assert call.done is not None and "paused already" in (call.done.not_paused or "")
    async with calling() as (call, start):
        start()
        await settle()
        await pausing.pause(call.chat, by=ANOTHER, resume_after_s=100)
        await call.says(frames.assistant(WORDS, "m-1", from_text=True), frames.end())
        assert call.sent == [PAUSE, LINE, PAUSE] and call.chat.record.pause.paused
        await settle()
        assert call.done is not None and "somebody has" in (call.done.not_resumed or "")


async def test_without_a_resume_it_stays_silent_until_the_limit() -> None:
    """The receipt says until when."""
    async with calling() as (call, start):
        start(resume=False, limit_s=60.0)
        await settle()
        await call.says(frames.assistant(WORDS, "m-1", from_text=True), frames.end())
        await call.clock.advance(50)
        assert call.sent == [PAUSE, LINE]
        assert call.done is not None and call.done.resumes_at is not None
        await call.clock.advance(11)
        assert call.sent == [PAUSE, LINE, RESUME]


async def test_a_pause_that_the_source_refuses_is_none_however_late_it_says_so() -> None:
    """It was shown as paused until its timer ended it, and every answer was warned of it."""
    greeting = frames.metadata(source="pipecat 1.0")
    async with calling(greeting) as (call, _):
        async with anyio.create_task_group() as group:

            async def pause() -> None:
                await pausing.pause(call.chat, by=ME, resume_after_s=100)

            group.start_soon(pause)
            await settle()
            assert call.chat.record.pause.paused
            await call.clock.advance(pausing.REFUSAL_S + 1)  # such a bot never confirms: it is not waited for longer
        refusal = {"code": "I0", "slug": "command_refused", "message": "no pipeline", "command": PAUSE}
        await call.says(frames.frame("error", **refusal))
        assert not call.chat.record.pause.paused
        await call.clock.advance(200)
        assert call.sent == [PAUSE], "nothing is to be resumed"
