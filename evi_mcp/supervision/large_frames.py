"""Reads large frames in a thread, one at a time, so that no chat keeps the others waiting."""

import anyio
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync

from evi_mcp.protocol.fast_decode import FastMessage, decode_audio
from evi_mcp.protocol.messages import Message
from evi_mcp.protocol.reading import is_large, read
from evi_mcp.protocol.redaction import Mask

_turn: RunVar[anyio.CapacityLimiter] = RunVar("large frames at once")


async def read_if_large(frame: str | bytes | Message, mask: Mask) -> str | bytes | Message | FastMessage:
    """A small frame as it is, or the message of a large one, so that `ChatReader.read` takes it in without delay.

    Cancelling it loses no frame: it finishes reading, and returns the message.
    """
    if not is_large(frame):
        return frame
    if isinstance(frame, str) and (voice := decode_audio(frame)) is not None:
        return voice
    with anyio.CancelScope(shield=True):
        message = await run_sync(read, frame, mask, limiter=_limiter())
    return message


def _limiter() -> anyio.CapacityLimiter:
    try:
        return _turn.get()
    except LookupError:
        _turn.set(limiter := anyio.CapacityLimiter(1))
        return limiter
