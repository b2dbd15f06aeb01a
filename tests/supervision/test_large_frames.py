"""No frame holds up those who have nothing to do with it, whatever is in there."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import anyio.lowlevel
import pytest

from evi_mcp.protocol.codec import MAX_FRAME_BYTES
from evi_mcp.supervision.large_frames import read_if_large
from evi_mcp.upstream.memory import MemoryConnector
from tests import frames
from tests.protocol.test_reading import MASK, SECRET
from tests.supervision.following import following, until

pytestmark = [pytest.mark.anyio, pytest.mark.alone]

MOST_S = 0.15
"""A third of it is what is promised on the machine that `docs/performance.md` names. It is CPU time of the process,
which does not pass while other processes run."""


def full_of(piece: str, kind: str = "something_new", field: str = "a", around: str = "[]") -> str:
    """A frame of 16 MiB, of one thing."""
    count = (MAX_FRAME_BYTES - 100) // len(piece.encode())
    return f'{{"type": "{kind}", "{field}": {around[:1]}{(piece * count).removesuffix(",")}{around[1:]}}}'


@contextmanager
def watched() -> Iterator[list[float]]:
    """How long the loop was held, each time."""
    holds: list[float] = []
    loop, last, over = asyncio.get_running_loop(), time.process_time(), False

    def tick() -> None:
        nonlocal last
        now = time.process_time()
        holds.append(now - last)
        last = now
        if not over:
            loop.call_soon(tick)

    tick()
    try:
        yield holds
    finally:
        over = True


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(full_of("[],"), id="empty arrays"),
        pytest.param(full_of("1,"), id="numbers"),
        pytest.param(full_of(f"{'9' * 4000},"), id="long numbers"),
        pytest.param(full_of("9", around="  "), id="a number"),
        pytest.param(full_of('{"a":', around="  "), id="nesting"),
        pytest.param(full_of("1,", "tool_call", "parameters"), id="numbers as parameters"),
        pytest.param(full_of("1,", "audio_output", "data"), id="numbers as audio"),
        pytest.param(full_of("1,", "session_settings", "tools"), id="numbers as settings"),
        pytest.param(full_of('\\"s', "tool_response", "content", '""'), id="escapes"),
        pytest.param(full_of("\\ud83d", "tool_response", "content", '""'), id="halves of characters"),
        pytest.param(full_of("я", "user_message", "message", '""'), id="Cyrillic"),
        pytest.param(full_of(SECRET, "tool_response", "content", '""'), id="secrets"),
        pytest.param(full_of("A", "audio_output", "data", '""'), id="audio that lacks an id"),
        pytest.param(
            f'{{"type": "new", {", ".join(f"{chr(34)}{number}{chr(34)}: 1" for number in range(1_000_000))}}}',
            id="fields",
        ),
    ],
)
async def test_a_frame_does_not_hold_the_loop(frame: str) -> None:
    """One chat can send 16 MiB of anything; at once, they held everybody up for two to three seconds."""
    chat = MemoryConnector((frames.metadata(),))
    async with following(chat) as registry:
        live = await registry.attach("chat-1")
        with watched() as holds:
            chat.connections["chat-1"][0].push(frame)
            chat.connections["chat-1"][0].push(frames.user("after"))
            while not any(event.text == "after" for event in live.record.log.after(0)):
                await anyio.lowlevel.checkpoint()
    assert max(holds) < MOST_S


async def test_others_are_served_while_large_frames_are_read() -> None:
    """And in each chat the order stays."""
    connector = MemoryConnector((frames.metadata(),))
    async with following(connector) as registry:
        one, other = await registry.attach("one"), await registry.attach("other")
        for number in range(10):
            connector.connections["one"][0].push(full_of("я", "tool_response", f"content{number}", '""'))
            connector.connections["one"][0].push(frames.user(f"word {number}", number))
        connector.connections["other"][0].push(frames.user("hello"))
        while not any(event.text == "hello" for event in other.record.log.after(0)):
            await anyio.lowlevel.checkpoint()
        assert not any(event.text == "word 9" for event in one.record.log.after(0))
        connector.connections["one"][0].shut()
        await until(one, "ended")
        said = [event.type for event in one.record.log.after(0) if event.type in ("tool_response", "user_message")]
        assert said == ["tool_response", "user_message"] * 10


async def test_a_large_frame_is_not_lost_where_reading_it_is_cancelled() -> None:
    """A replay is awaited with a time limit, which may end in the middle of it."""
    for patience in (0.0, 0.001):
        with anyio.move_on_after(patience):
            message = await read_if_large(full_of("x", "tool_response", "content", '""'), MASK)
        assert not isinstance(message, str | bytes) and message.type == "tool_response"
