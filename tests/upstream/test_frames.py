"""What comes on a real socket: every message arrives, or a fault stands for it, and the connection stays."""

import asyncio
import time
import tracemalloc
from collections.abc import Callable, Iterable

import pytest

from evi_mcp.protocol.codec import MAX_FRAME_BYTES
from evi_mcp.protocol.messages import ProtocolFault
from evi_mcp.upstream.transport import Closed, Transport
from evi_mcp.upstream.websocket import WebSocketTransport
from tests.upstream.raw_service import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Peer,
    connected_to,
    fragments,
    frame,
    serving,
    text,
)

pytestmark = [pytest.mark.anyio, pytest.mark.alone]

MIB = 2**20
MOST_S = 0.15
"""Three times what is promised on the machine that `docs/performance.md` names."""
LONG = b'{"type": "user_message", "x": "' + b"A" * (20 * MIB) + b'"}'


async def received(*pieces: bytes) -> list[str | bytes | ProtocolFault]:
    """All that a client gets of a service that sends this and says goodbye."""

    async def play(peer: Peer) -> None:
        await peer.send(*pieces, frame(CLOSE, b"\x03\xe8"))

    found = []
    async with serving(play) as base_url, asyncio.timeout(60):
        transport = await connected_to(base_url)
        with pytest.raises(Closed) as end:
            while True:
                found.append(await transport.receive())
        assert end.value.code == 1000
    return found


def faults(found: Iterable[str | bytes | ProtocolFault]) -> list[ProtocolFault]:
    return [frame for frame in found if isinstance(frame, ProtocolFault)]


async def test_text_that_is_not_utf_8_is_a_fault_between_its_neighbours() -> None:
    """EVI replays it on each connection: were it the end of one (1007), it would be the end of all."""
    before, broken, after = await received(text("before"), frame(TEXT, b'{"type": "caf\xe9"}'), text("after"))
    assert (before, after) == ("before", "after")
    assert isinstance(broken, ProtocolFault)
    assert (broken.reason, broken.size, broken.binary) == ("text that is not UTF-8", 16, False)


async def test_a_character_may_lie_in_two_fragments() -> None:
    """RFC 6455, section 5.4: a fragment need not end where a character does."""
    assert await received(*fragments("Привет 👋".encode(), 3)) == ["Привет 👋"]


async def test_binary_frames_are_told_from_text() -> None:
    assert await received(frame(BINARY, b"\x00\xff"), *fragments(b"abc", 1, BINARY)) == [b"\x00\xff", b"abc"]


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(lambda: [frame(TEXT, LONG)], id="whole"),
        pytest.param(lambda: fragments(LONG, MIB), id="in 20 fragments"),
        pytest.param(lambda: fragments(LONG, 4096), id="in 5,000 fragments"),
        pytest.param(lambda: fragments(LONG, 17 * MIB), id="in a fragment that is too long by itself and another"),
    ],
)
async def test_a_message_over_16_mib_is_a_fault_between_its_neighbours(pieces: Callable[[], Iterable[bytes]]) -> None:
    """The library ends the connection (1009), or the process is asked to keep whatever anybody sends."""
    before, skipped, after = await received(text("before"), *pieces(), text("after"))
    assert (before, after) == ("before", "after")
    assert isinstance(skipped, ProtocolFault)
    assert (skipped.size, skipped.binary) == (len(LONG), False)
    assert str(MAX_FRAME_BYTES) in skipped.reason


async def test_a_skipped_message_is_the_same_in_each_replay_however_it_is_cut() -> None:
    """Else each reconnect would log it anew."""
    other = LONG.replace(b"A", b"B", 1)
    found = faults(await received(frame(TEXT, LONG), *fragments(LONG, 3 * MIB), frame(TEXT, other)))
    assert found[0].digest == found[1].digest != found[2].digest


async def test_a_message_of_exactly_16_mib_arrives() -> None:
    """Hume's FAQ: messages have up to 16 MB."""
    [whole] = await received(*fragments(b"A" * MAX_FRAME_BYTES, 5 * MIB))
    assert isinstance(whole, str) and len(whole) == MAX_FRAME_BYTES


async def test_a_message_in_more_fragments_than_the_library_takes_arrives() -> None:
    """It ends the connection after 4,096."""
    assert await received(*fragments(b"word " * 2000, 2)) == ["word " * 2000]


async def test_a_ping_between_fragments_is_answered() -> None:
    """RFC 6455, section 5.4: control frames may come in the middle of a message."""
    answered: list[tuple[int, bytes]] = []

    async def play(peer: Peer) -> None:
        first, second = fragments(b"in two", 3)
        await peer.send(first, frame(PING, b"there?"), second)
        answered.append(await peer.next_frame())

    async with serving(play) as base_url, asyncio.timeout(20):
        transport = await connected_to(base_url)
        assert await transport.receive() == "in two"
        with pytest.raises(Closed):
            await transport.receive()
    assert answered == [(PONG, b"there?")]


async def test_nobody_compresses() -> None:
    """A message that inflates to a thousand times its size cannot come where none was asked for."""
    headers: list[dict[str, str]] = []

    async def play(peer: Peer) -> None:
        headers.append(peer.headers)

    async with serving(play) as base_url:
        await connected_to(base_url)
    assert "sec-websocket-extensions" not in headers[0]


async def test_an_endless_message_takes_no_memory() -> None:
    """A header may claim 2^63 bytes; what is skipped is counted and not kept."""
    sent, piece = 0, b"A" * MIB

    async def play(peer: Peer) -> None:
        nonlocal sent
        await peer.send(frame(TEXT, b"", length=2**40))
        for _ in range(200):
            await peer.send(piece)
            sent += len(piece)

    tracemalloc.start()
    try:
        async with serving(play) as base_url, asyncio.timeout(60):
            transport = await connected_to(base_url)
            with pytest.raises(Closed):
                await transport.receive()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sent == 200 * MIB
    assert most < 4 * MAX_FRAME_BYTES


async def test_what_nobody_takes_is_not_read() -> None:
    """The inbox is bounded in bytes: sixteen messages, as the library counts, could be 256 MiB."""

    async def play(peer: Peer) -> None:
        for _ in range(300):
            await peer.send(frame(TEXT, b"A" * MIB))

    async with serving(play) as base_url, asyncio.timeout(60):
        transport = await connected_to(base_url)
        assert await transport.receive() == "A" * MIB
        assert isinstance(transport, WebSocketTransport)
        while transport._connection.transport.is_reading():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        assert transport._connection._inbox_size < 4 * MIB
        found = 1
        with pytest.raises(Closed):
            while await transport.receive():
                found += 1
        assert found == 300


async def longest_hold(transport: Transport) -> float:
    """Takes all in; for how long the loop was held at most, in seconds of CPU."""
    loop, longest, last = asyncio.get_running_loop(), 0.0, time.thread_time()

    def tick() -> None:
        nonlocal longest, last
        now = time.thread_time()
        longest, last = max(longest, now - last), now
        loop.call_soon(tick)

    tick()
    with pytest.raises(Closed):
        while True:
            await transport.receive()
    return longest


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(frame(PING, b""), id="pings"),
        pytest.param(frame(TEXT, b""), id="empty messages"),
        pytest.param(frame(0, b"", fin=False), id="empty fragments"),
    ],
)
async def test_a_flood_of_tiny_frames_does_not_hold_the_loop(flood: bytes) -> None:
    """One read brings a hundred thousand of them; taken in without a break, they hold everybody up for a second."""

    async def play(peer: Peer) -> None:
        await peer.send(frame(TEXT, b"", fin=False) if flood[0] == 0 else b"", flood * 300_000)

    async with serving(play) as base_url, asyncio.timeout(60):
        assert await longest_hold(await connected_to(base_url)) < MOST_S
