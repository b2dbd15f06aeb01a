"""The proxy itself: each fault is what it says, seen by a plain WebSocket client. Else a run would prove nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from tests import frames
from tests.chaos import proxy as proxy_module
from tests.chaos.faults import DAMAGE, Fault, Kind, Schedule
from tests.chaos.proxy import MIN_KNOWN, FaultProxy, breaking
from tests.chaos.truth import Truth, telling

pytestmark = [pytest.mark.anyio, pytest.mark.alone]

SAID = [frames.user(f"word {number}", number) for number in range(6)]
HISTORY = 2 + len(SAID)


class Planned(Schedule):
    """These faults on the first connection, and none on any other."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("planned")
        self._faults = faults

    def refusal(self, chat_id: str, connection: int) -> int | None:
        statuses = [fault.value for fault in self._faults if fault.kind is Kind.REFUSE]
        return statuses[0] if statuses and connection == 1 else None

    def faults(self, chat_id: str, connection: int, history: int) -> list[Fault]:
        assert history == HISTORY
        return list(self._faults) if connection == 1 else []


@asynccontextmanager
async def through(*faults: Fault) -> AsyncIterator[tuple[FaultProxy, Truth]]:
    async with asyncio.timeout(20), telling(Truth("proxy", ["c"])) as truth:
        truth.happen("c", *SAID)
        async with breaking(truth.port, Planned(*faults)) as proxy:
            yield proxy, truth


def opened(proxy: FaultProxy, **options: Any) -> connect:
    uri = f"ws{proxy.base_url.removeprefix('http')}/v0/evi/chat/c/connect"
    return connect(uri, proxy=None, compression=None, ping_interval=None, close_timeout=1, **options)


async def received(client: ClientConnection, count: int) -> list[str | bytes]:
    return [await client.recv() for _ in range(count)]


@pytest.mark.parametrize(
    "fault",
    [Fault(Kind.SPLIT, 0, 8), Fault(Kind.JOIN, 0, 8), Fault(Kind.DELAY, 3, 0.05)],
    ids=lambda value: value.kind if isinstance(value, Fault) else None,
)
async def test_what_only_disturbs_the_stream_changes_nothing_in_it(fault: Fault) -> None:
    """Split, joined or late, the frames are the same and in the same order."""
    async with through(fault) as (proxy, truth), opened(proxy) as client:
        assert await received(client, HISTORY) == truth.chats["c"].history
        assert proxy.done == {fault.kind: 1}


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(Kind.RST, 3), None),
        (Fault(Kind.FIN, 3), None),
        (Fault(Kind.CLOSE, 3, 4000), 4000),
        (Fault(Kind.HUGE, 3), 1009),
        (Fault(Kind.BAD_BYTES, 3), 1007),
        (Fault(Kind.NO_FRAME, 3), 1002),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else None,
)
async def test_what_ends_a_connection_ends_it_there_and_the_next_one_is_whole(fault: Fault, code: int | None) -> None:
    """Three frames come through, then the end that was asked for; what is too big or no frame the client refuses."""
    async with through(fault) as (proxy, truth):
        async with opened(proxy, max_size=16 * 2**20) as client:
            with pytest.raises(ConnectionClosed) as end:
                await received(client, HISTORY)
            close = end.value.rcvd or end.value.sent
            assert (close.code if close else None) == code
        async with opened(proxy) as client:
            assert await received(client, HISTORY) == truth.chats["c"].history


async def test_silence_is_neither_a_frame_nor_an_end() -> None:
    """A black hole: the connection stands, and nothing comes or goes on it."""
    async with through(Fault(Kind.SILENCE, 3)) as (proxy, truth), opened(proxy) as client:
        await received(client, 3)
        await client.send('{"type": "user_input", "text": "lost"}')
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.recv(), 0.3)
        assert truth.chats["c"].commands == []
        proxy.cut()
        with pytest.raises(ConnectionClosed):
            await client.recv()


@pytest.mark.parametrize(
    "fault",
    [*(Fault(Kind.CORRUPT, 3, how) for how in DAMAGE), Fault(Kind.AS_BINARY, 3), Fault(Kind.BYTE_ORDER_MARK, 3)],
    ids=lambda fault: fault.value or fault.kind,
)
async def test_a_changed_frame_comes_in_its_place_and_is_noted(fault: Fault) -> None:
    """It may be read for what it was, or not: then that may come late."""
    async with through(fault) as (proxy, truth), opened(proxy) as client:
        history, came = truth.chats["c"].history, await received(client, HISTORY)
        assert [n for n, frame in enumerate(came) if frame != history[n]] == [3]
        assert [one.number for one in proxy.withheld["c"]] == [3]


async def test_a_binary_frame_comes_in_between_and_takes_nothing_away() -> None:
    """EVI sends none; it is noise."""
    async with through(Fault(Kind.BINARY, 3)) as (proxy, truth), opened(proxy) as client:
        came = await received(client, HISTORY + 1)
        assert isinstance(came[3], bytes)
        assert came[:3] + came[4:] == truth.chats["c"].history


async def test_a_history_without_a_type_has_the_live_events_of_it() -> None:
    """Only the replay leaves it out."""
    fault = Fault(Kind.LEAVE_OUT, 0, frozenset({"user_message"}))
    async with through(fault) as (proxy, truth), opened(proxy) as client:
        assert await received(client, 2) == truth.chats["c"].history[:2]
        truth.happen("c", frames.user("live", 99))
        assert await received(client, 1) == truth.chats["c"].history[-1:]
        assert len(proxy.withheld["c"]) == len(SAID)


async def test_a_history_that_is_slow_comes_late_and_whole() -> None:
    """`chat_metadata` comes at once, all else after a while."""
    async with through(Fault(Kind.SLOW, 1, 0.3)) as (proxy, truth), opened(proxy) as client:
        assert await received(client, 1) == truth.chats["c"].history[:1]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.recv(), 0.2)
        assert await received(client, HISTORY - 1) == truth.chats["c"].history[1:]


async def test_a_history_that_keeps_the_newest_part_leaves_out_only_what_came_before() -> None:
    """Else nobody could know what was in it: nothing of it would ever be owed."""
    async with through() as (proxy, truth):
        truth.happen("c", *(frames.user(f"more {number}", 1000 + number) for number in range(MIN_KNOWN)))
        history = truth.chats["c"].history
        proxy.schedule = _Tail(0.5)
        async with opened(proxy) as client:
            assert await received(client, len(history)) == history, "it has had nothing yet"
        truth.happen("c", frames.user("new", 9999))
        async with opened(proxy) as client:
            kept = len(history) - 1 - (len(history) - 1) // 2
            assert await received(client, 2 + kept) == [history[0], *history[-kept - 1 :]]
            assert not proxy.withheld["c"]


class _Tail(Schedule):
    """Every replay keeps the newest part only."""

    def __init__(self, part: float) -> None:
        super().__init__("tail")
        self._part = part

    def refusal(self, chat_id: str, connection: int) -> int | None:
        return None

    def faults(self, chat_id: str, connection: int, history: int) -> list[Fault]:
        return [Fault(Kind.KEEP_TAIL, 1, self._part)]


async def test_a_policy_close_comes_when_the_connection_has_stood_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right after the accept it would be the end of the chat."""
    monkeypatch.setattr(proxy_module, "POLICY_AFTER_S", 0.3)
    async with through(Fault(Kind.POLICY, HISTORY, 1008)) as (proxy, truth), opened(proxy) as client:
        await received(client, HISTORY)
        truth.happen("c", frames.user("live", 99))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.recv(), 0.2)
        with pytest.raises(ConnectionClosed) as end:
            await client.recv()
        assert end.value.rcvd is not None and end.value.rcvd.code == 1008


async def test_a_stalled_reader_delays_a_command_and_loses_none() -> None:
    """Nothing is read from the client for a while; then all of it is, in order."""
    async with through(Fault(Kind.STALL, 0, 0.3)) as (proxy, truth), opened(proxy) as client:
        await received(client, HISTORY)
        for number in range(3):
            await client.send(f'{{"type": "user_input", "text": "{number}"}}')
        while len(truth.chats["c"].commands) < 3:
            await truth.news("c")
        assert [command["text"] for command in truth.chats["c"].commands] == ["0", "1", "2"]


@pytest.mark.parametrize(("status", "error"), [(503, InvalidStatus), (0, InvalidMessage)])
async def test_a_refused_handshake_never_reaches_the_service(status: int, error: type[Exception]) -> None:
    """With a status, or without any answer."""
    async with through(Fault(Kind.REFUSE, 0, status)) as (proxy, truth):
        with pytest.raises(error):
            async with opened(proxy):
                pass
        async with opened(proxy) as client:
            assert await received(client, HISTORY) == truth.chats["c"].history


def test_the_same_seed_makes_the_same_faults() -> None:
    """Else a run could not be repeated."""
    plans = [[Schedule(seed).faults("c", n, 50) for n in range(20)] for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]
