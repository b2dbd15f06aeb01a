"""A service that stops reading, or stops altogether: what was given up never arrives, and the service is given up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from evi_mcp.upstream import websocket
from evi_mcp.upstream.connection import Connection
from evi_mcp.upstream.transport import Closed, Transport
from evi_mcp.upstream.websocket import WebSocketTransport
from tests.upstream.raw_service import PING, PONG, TEXT, Peer, connected_to, frame, serving, text

pytestmark = pytest.mark.anyio

LINE = "the line that nobody may hear any more"
FILLER = "x" * 64 * 1024


class Stalling:
    """A service that reads nothing until it is told to; then it reads all there is."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.over = asyncio.Event()
        self.ponged = asyncio.Event()
        self.heard: list[str] = []
        self.pongs: list[bytes] = []

    async def __call__(self, peer: Peer) -> None:
        self.peer = peer
        peer.stop_reading()
        await peer.send(text("hello"))
        await self.reads.wait()
        peer.read_on()
        try:
            while True:
                opcode, data = await peer.next_frame()
                if opcode == TEXT:
                    self.heard.append(data.decode())
                elif opcode == PONG:
                    self.pongs.append(data)
                    self.ponged.set()
        finally:
            self.over.set()


@asynccontextmanager
async def stalled() -> AsyncIterator[tuple[Stalling, Transport]]:
    """A connection on which somebody's write waits, for the service reads nothing and all buffers are full."""
    service = Stalling()
    async with asyncio.timeout(30), serving(service, receive_buffer=4096) as base_url:
        transport = await connected_to(base_url)
        assert await transport.receive() == "hello"
        filling = asyncio.create_task(fill(transport))
        while not socket_of(transport).paused:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        yield service, transport
        await filling


async def fill(transport: Transport) -> None:
    with pytest.raises(Closed):
        while True:
            await transport.send(FILLER)


def socket_of(transport: Transport) -> Connection:
    assert isinstance(transport, WebSocketTransport)
    return transport._connection


async def test_a_write_that_is_given_up_never_arrives() -> None:
    """A caller would hear the line half a minute after the agent was told that it may be lost."""
    async with stalled() as (service, transport):
        with anyio.move_on_after(0.1) as patience:
            await transport.send(LINE)
        assert patience.cancelled_caught
        assert not transport.is_open
        service.reads.set()
        await service.over.wait()
        assert service.heard == [FILLER] * len(service.heard)


async def test_a_write_arrives_when_the_service_reads_again_in_time() -> None:
    """The other half: it is the giving up that makes the difference."""
    async with stalled() as (service, transport):
        async with asyncio.TaskGroup() as group:
            group.create_task(transport.send(LINE))
            await asyncio.sleep(0)
            service.reads.set()
        await transport.close()
        await service.over.wait()
        assert LINE in service.heard


async def test_after_an_abort_nothing_arrives_and_nothing_can_be_written() -> None:
    async with stalled() as (service, transport):
        transport.abort()
        assert not transport.is_open
        with pytest.raises(Closed):
            await transport.send(LINE)
        with pytest.raises(Closed) as end:
            await transport.receive()
        assert end.value.code is None
        transport.abort()
        service.reads.set()
        await service.over.wait()
        assert LINE not in service.heard


async def test_an_abort_takes_back_what_the_system_has_taken() -> None:
    """A system goes on delivering for minutes what was written before a close, if nobody tells it not to."""
    service = Stalling()
    async with asyncio.timeout(30), serving(service, receive_buffer=4096) as base_url:
        transport = await connected_to(base_url)
        await transport.receive()
        await transport.send(FILLER)
        await transport.send(LINE)
        assert socket_of(transport).transport.get_write_buffer_size() == 0
        transport.abort()
        with pytest.raises(Closed):
            await transport.receive()
        service.reads.set()
        await service.over.wait()
        assert LINE not in service.heard


async def test_closing_does_not_wait_for_a_service_that_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does what was waiting to be written go out after it."""
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT_S", 0.1)
    async with stalled() as (service, transport):
        await transport.close()
        service.reads.set()
        await service.over.wait()
        assert service.heard == [FILLER] * len(service.heard)


async def test_a_service_that_is_done_and_reads_nothing_is_left_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system keeps such a connection for as long as there is something to be written."""
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT_S", 0.1)

    async def play(peer: Peer) -> None:
        peer.stop_reading()
        await peer.send(text("hello"))
        await full.wait()
        peer.writer.write_eof()
        await asyncio.sleep(30)

    full = asyncio.Event()
    async with asyncio.timeout(20), serving(play, receive_buffer=4096) as base_url:
        transport = await connected_to(base_url)
        assert await transport.receive() == "hello"
        async with asyncio.TaskGroup() as group:
            group.create_task(fill(transport))
            while not socket_of(transport).paused:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
            full.set()
            with pytest.raises(Closed):
                await transport.receive()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "PING_INTERVAL_S", 0.1)
    monkeypatch.setattr(websocket, "PING_TIMEOUT_S", 0.3)


@pytest.mark.usefixtures("hurried")
async def test_a_service_that_stops_reading_is_noticed_although_no_ping_can_be_written() -> None:
    """The library's own pings wait for the full buffer: the chat would be `live` for a minute and a half."""
    async with stalled() as (_, transport):
        with pytest.raises(Closed) as end:
            await transport.receive()
        assert (end.value.code, end.value.reason) == (None, "the service answers no pings")


@pytest.mark.usefixtures("hurried")
async def test_a_service_that_speaks_and_does_not_read_is_noticed() -> None:
    """No command would ever reach it."""

    async def play(peer: Peer) -> None:
        peer.stop_reading()
        while True:
            await peer.send(text("and another thing"))
            await asyncio.sleep(0.01)

    async with asyncio.timeout(30), serving(play, receive_buffer=4096) as base_url:
        transport = await connected_to(base_url)
        with pytest.raises(Closed, match="answers no pings"):
            while True:
                assert await transport.receive() == "and another thing"


async def test_pings_whose_answers_nobody_reads_pile_up_nowhere() -> None:
    """Only the newest has to be answered (RFC 6455, section 5.5.3), and that when the service reads again."""
    async with stalled() as (service, transport):
        buffered = socket_of(transport).transport.get_write_buffer_size
        before = buffered()
        await service.peer.send(frame(PING, bytes(125)) * 100_000, frame(PING, b"newest"), text("and"))
        assert await transport.receive() == "and"
        assert buffered() == before
        service.reads.set()
        await service.ponged.wait()
        assert service.pongs == [b"newest"]
        transport.abort()


@pytest.mark.usefixtures("hurried")
async def test_an_answer_to_a_ping_may_come_behind_a_message_that_takes_its_time() -> None:
    """16 MiB on a slow line take longer than any ping: each replay of that message would end the connection again."""
    data = b"A" * 20_000

    async def play(peer: Peer) -> None:
        pings: list[bytes] = []

        async def note_pings() -> None:
            while True:
                opcode, payload = await peer.next_frame()
                if opcode == PING:
                    pings.append(payload)

        noting = asyncio.create_task(note_pings())
        whole = frame(TEXT, data)
        for start in range(0, len(whole), 2000):
            await peer.send(whole[start : start + 2000])
            await asyncio.sleep(0.1)
        assert pings, "asked while the message was on its way"
        await peer.send(*(frame(PONG, payload) for payload in pings), text("done"))
        noting.cancel()

    async with asyncio.timeout(30), serving(play) as base_url:
        transport = await connected_to(base_url)
        assert await transport.receive() == data.decode()
        assert await transport.receive() == "done"
