"""The task that keeps one chat fed: connects, takes in the replay, drains the socket, connects again."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel

from evi_mcp.protocol.lifecycle import GONE_STATUS, State
from evi_mcp.supervision.large_frames import read_if_large
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.upstream.reconnect import backoff
from evi_mcp.upstream.transport import Closed, Connector, Refused, Transport, Unreachable

TURN_S = 0.001
"""Seconds for which one chat is taken in without a break."""
_SHORTEST_WAIT_S = 0.01  # so that a frame which is already here is never taken for a gap


@dataclass(frozen=True)
class Pace:
    """How long things may take, in seconds."""

    reconnect_for: float = 300.0
    """Failed connecting for this long makes a chat `failed`."""
    first_frame: float = 2.0
    quiet: float = 0.25
    """A replay has ended when nothing has arrived for this long,"""
    long_quiet: float = 1.0
    """or for this long, if it shows that something is missing."""
    replay: float = 4.5
    """And at the latest after this long, as far as the state is concerned. Less than a command waits for it."""
    last_words: float = 1.0
    """What comes within this time after the `error` that ends a chat is still taken in."""
    delays: Callable[[], Iterator[float]] = field(default=backoff)


async def follow(chat: LiveChat, connector: Connector, pace: Pace, handshakes: anyio.CapacityLimiter) -> None:
    """Follows the chat until it is over. Cancelling it closes the socket with 1000."""
    delays, failing_since = pace.delays(), time.monotonic()
    lifecycle = chat.record.lifecycle
    while not chat.over:
        try:
            async with handshakes:
                transport = await connector.connect(chat.chat_id)
        except Refused as refusal:
            over = lifecycle.was_live and refusal.status in GONE_STATUS
            cause = "" if over else await connector.explain_refusal(chat.chat_id, refusal.status)
            chat.change(lifecycle.refused(refusal.status, cause))
        except Unreachable as trouble:
            chat.change(lifecycle.unreachable(str(trouble)))
        else:
            if await _drain(chat, transport, pace):
                delays, failing_since = pace.delays(), time.monotonic()
        if chat.over:
            return
        left = failing_since + pace.reconnect_for - time.monotonic()
        if left <= 0:
            chat.change(lifecycle.gave_up(pace.reconnect_for))
            return
        await anyio.sleep(min(next(delays), left))


async def _drain(chat: LiveChat, transport: Transport, pace: Pace) -> bool:
    """Takes in all that one connection brings; whether the chat was live on it."""
    was_live = False
    chat.connected(transport)
    try:
        turn = _Turn(transport)
        await _take_in_replay(chat, transport, pace, turn)
        while not chat.over:
            chat.receive(await read_if_large(await transport.receive(), chat.record.mask))
            if turn.is_over():
                await turn.next()
        # An `error` has ended the chat. The service closes next, and may have something to say before it does.
        with anyio.move_on_after(pace.last_words):
            while True:
                chat.receive(await read_if_large(await transport.receive(), chat.record.mask))
                if turn.is_over():
                    await turn.next()
    except Closed as end:
        was_live = chat.state is State.LIVE
        chat.change(chat.record.lifecycle.closed(end.code, end.reason))
    finally:
        chat.record.history.end_replay()
        chat.disconnected()
        with anyio.CancelScope(shield=True):
            await transport.close()
    return was_live


class _Turn:
    """How long one chat may keep the event loop before the others have theirs.

    Frames that are here already are received without waiting: those of one read of a chat that pours in would all be
    taken in at once, and everybody would wait for them.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._heard_at = 0.0
        self._ends = 0.0

    def is_over(self) -> bool:
        """Whether it is the others' turn, now that a frame was taken in."""
        now, heard_at = time.monotonic(), self._transport.heard_at
        if heard_at == self._heard_at:
            return now >= self._ends
        self._heard_at, self._ends = heard_at, now + TURN_S  # bytes came in between, so the loop has gone round
        return False

    async def next(self) -> None:
        """Returns when the others have had theirs."""
        await anyio.lowlevel.checkpoint()
        self._ends = time.monotonic() + TURN_S


async def _take_in_replay(chat: LiveChat, transport: Transport, pace: Pace, turn: _Turn) -> None:
    """Takes in the history that opens a connection; on the way the chat becomes live.

    EVI marks no end of it. Taken for one is a gap in what arrives (bytes count, not frames: a large one on a slow line
    takes longer), a longer gap while known events of a type that this replay holds have yet to come back. A chat that
    speaks leaves no gap: there it is the same long time after all that was known has been back. A replay that outlasts
    `pace.replay` holds no agent up any more, but is told from live events until it is past what was known.
    """
    history, lifecycle = chat.record.history, chat.record.lifecycle
    opened = time.monotonic()
    heard, all_back_since = False, math.inf
    while history.replaying and not chat.over:
        gap = pace.long_quiet if history.expects_more else pace.quiet
        quiet_at = max(opened, transport.heard_at) + gap if heard else opened + pace.first_frame
        wake_at = min(quiet_at, all_back_since + pace.long_quiet)
        if chat.state is not State.LIVE:
            wake_at = min(wake_at, opened + pace.replay)
        with anyio.move_on_after(max(_SHORTEST_WAIT_S, wake_at - time.monotonic())) as patience:
            frame = await read_if_large(await transport.receive(), chat.record.mask)
        if not patience.cancelled_caught:
            chat.receive(frame)
            if turn.is_over():
                await turn.next()
            heard = True
        now = time.monotonic()
        if history.has_come_back:
            all_back_since = min(all_back_since, now)
        quiet = patience.cancelled_caught and now >= quiet_at and now >= transport.heard_at + gap
        late = now >= opened + pace.replay
        if quiet or now >= all_back_since + pace.long_quiet or (late and history.replay_has_passed):
            history.end_replay()
        if late or not history.replaying:
            chat.change(lifecycle.caught_up())
