"""The task that follows one chat: it connects, takes in the replay, drains the socket, and reconnects."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel

from evi_mcp.clock import Clock, sleep, timeout
from evi_mcp.protocol.catching_up import CatchingUp, ReplayPace
from evi_mcp.protocol.lifecycle import GONE_STATUS, State
from evi_mcp.supervision.large_frames import read_if_large
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.upstream.reconnect import Patience, backoff
from evi_mcp.upstream.transport import Closed, Connector, Refused, Transport, Unreachable

SLICE_S = 0.001
"""How long one chat may keep the event loop at a time, in seconds."""
_SHORTEST_WAIT_S = 0.01  # so that a frame that has already arrived is received before a timeout counts as quiet


@dataclass(frozen=True)
class Pace(ReplayPace):
    """The time limits of following a chat, in seconds."""

    reconnect_for: float = 300.0
    """A chat is `failed` after this long without progress. Progress is a connection that brings something of the
    conversation, or catches up."""
    last_words: float = 1.0
    """After the `error` that ends a chat, frames are still taken in for this long."""
    delays: Callable[[], Iterator[float]] = field(default=backoff)
    """Makes the waits between attempts."""


async def follow(
    chat: LiveChat,
    connector: Connector,
    pace: Pace,
    handshakes: anyio.CapacityLimiter,
    clock: Clock,
    first: Transport | None = None,
) -> None:
    """Follows the chat until it is over. Cancelling it closes the socket with 1000.

    Args:
        first: The first connection, if it is open already; `None` opens one.
    """
    lifecycle = chat.reader.lifecycle
    patience = Patience(pace.reconnect_for, pace.delays, clock.elapsed())
    while not chat.over:
        retry_after = None
        try:
            if first is not None:
                transport, first = first, None
            else:
                async with handshakes:
                    transport = await connector.connect(chat.chat_id)
        except Refused as refusal:
            retry_after = refusal.retry_after
            over = lifecycle.was_live and refusal.status in GONE_STATUS
            cause = "" if over else await connector.explain_refusal(chat.chat_id, refusal.status)
            chat.change(lifecycle.refused(refusal.status, cause))
        except Unreachable as trouble:
            chat.change(lifecycle.unreachable(str(trouble)))
        else:
            opened = clock.elapsed()
            if await _drain(chat, transport, pace, clock):
                now = clock.elapsed()
                patience.progress(now, stood_s=now - opened)
        if chat.over:
            return
        left_s = patience.left_s(clock.elapsed())
        wait_s = patience.next_wait(clock.elapsed(), retry_after)
        if left_s > 0:
            await sleep(clock, min(wait_s, left_s))
        if left_s <= 0 or wait_s > left_s:
            chat.change(lifecycle.gave_up(pace.reconnect_for))


async def _drain(chat: LiveChat, transport: Transport, pace: Pace, clock: Clock) -> bool:
    """Takes in all that one connection brings. Returns whether that was progress (`Pace.reconnect_for`)."""
    history, lifecycle = chat.reader.history, chat.reader.lifecycle
    chat.connected(transport)
    opened = clock.elapsed()
    try:
        time_slice = _TimeSlice(transport, clock)
        await _catch_up(chat, transport, CatchingUp(history, lifecycle, pace, opened), time_slice, clock)
        while not chat.over:
            chat.receive(await read_if_large(await transport.receive(), chat.reader.mask))
            if time_slice.is_over():
                await time_slice.next()
        # An `error` has ended the chat. The service closes next, and may send more before it does.
        with timeout(clock, pace.last_words):
            while True:
                chat.receive(await read_if_large(await transport.receive(), chat.reader.mask))
                if time_slice.is_over():
                    await time_slice.next()
    except Closed as end:
        chat.change(lifecycle.closed(end.code, end.reason, clock.elapsed() - opened))
    finally:
        is_progress = history.replay.has_talk or not history.catching_up
        chat.disconnected()
        with anyio.CancelScope(shield=True):
            await transport.close()
    return is_progress


async def _catch_up(
    chat: LiveChat, transport: Transport, catching_up: CatchingUp, time_slice: "_TimeSlice", clock: Clock
) -> None:
    """Takes in the replay at the start of a connection until it ends. Meanwhile the chat may become live."""
    lifecycle = chat.reader.lifecycle
    stamp, now = transport.heard_at, clock.elapsed()
    while not chat.over:
        wakes_at = catching_up.ends_at
        if now >= wakes_at:
            chat.caught_up()
            return
        if chat.state is not State.LIVE:
            live_at = catching_up.live_at
            if now >= live_at:
                chat.change(lifecycle.catching_up())
            else:
                wakes_at = min(wakes_at, live_at)
        frame = None
        with clock.timeout_at(max(clock.elapsed() + _SHORTEST_WAIT_S, wakes_at)):
            frame = await read_if_large(await transport.receive(), chat.reader.mask)
        now = clock.elapsed()
        if frame is not None:
            chat.receive(frame)
            catching_up.took_in(now)
            if time_slice.is_over():
                await time_slice.next()
        elif transport.heard_at != stamp:
            catching_up.heard(now)
        stamp = transport.heard_at


class _TimeSlice:
    """Limits how long one chat keeps the event loop before other tasks get a turn.

    Receiving a frame that has already arrived does not yield. Without a limit, everybody would wait while a flooding
    chat takes in all frames of one read.
    """

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport, self._clock = transport, clock
        self._heard_at = transport.heard_at
        self._ends = clock.elapsed() + SLICE_S

    def is_over(self) -> bool:
        """Whether other tasks must get a turn; asked after each frame."""
        now, heard_at = self._clock.elapsed(), self._transport.heard_at
        if heard_at == self._heard_at:
            return now >= self._ends
        self._heard_at, self._ends = heard_at, now + SLICE_S  # new bytes came, so the loop has run other tasks
        return False

    async def next(self) -> None:
        """Returns after other tasks had their turn."""
        await anyio.lowlevel.checkpoint()
        self._ends = self._clock.elapsed() + SLICE_S
