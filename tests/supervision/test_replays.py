"""Taking in replays and reconnecting: where a history ends, and how long that may take."""

from itertools import repeat

import anyio
import pytest

from evi_mcp.supervision.following import Pace
from evi_mcp.upstream.memory import MemoryConnector, MemoryTransport
from evi_mcp.upstream.reconnect import backoff
from evi_mcp.upstream.transport import Unreachable
from tests import frames
from tests.supervision.following import QUICK, Handing, at_once, following, until

pytestmark = pytest.mark.anyio


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


async def test_reconnecting_goes_on_until_the_time_is_up_and_then_fails() -> None:
    """Our contract (section 2, EVI_MCP_RECONNECT_FOR)."""
    connector = MemoryConnector((frames.metadata(),), Unreachable("no route"))
    pace = Pace(reconnect_for=0.2, first_frame=0.05, quiet=0.02, delays=lambda: repeat(0.01))
    async with following(connector, pace) as registry:
        chat = await registry.attach("c")
        connector.connections["c"][0].shut(1012, "restart")
        await until(chat, "failed")
        assert chat.record.reason == "gave up after 0.2 s without a connection; last: no route"
        assert connector.attempts > 3
        reasons = [event.reason for event in chat.record.log if event.state == "reconnecting"]
        assert reasons == ['the service closed the connection with 1012: "restart"', "no route"]


def test_delays_grow_from_a_quarter_to_thirty_seconds() -> None:
    """Our contract (section 3): exponential backoff with jitter, from 0.25 s to 30 s, for ever."""
    delays = backoff()
    taken = [next(delays) for _ in range(200)]
    assert all(0.25 <= delay <= 30 for delay in taken)
    assert taken[0] == 0.25 and min(taken[20:]) >= 15
    assert len(set(taken[20:])) > 100


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
