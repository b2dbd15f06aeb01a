"""Large frames are read beside the event loop, one at a time, so that no chat keeps the others waiting."""

import anyio
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync

from evi_mcp.protocol.fast_decode import FastMessage, decode_audio
from evi_mcp.protocol.messages import Message
from evi_mcp.protocol.reading import is_large, read
from evi_mcp.protocol.redaction import Mask

_turn: RunVar[anyio.CapacityLimiter] = RunVar("large frames at once")


async def read_if_large(frame: str | bytes | Message, mask: Mask) -> str | bytes | Message | FastMessage:
    """What `ChatReader.read` takes in without holding anybody up: the frame, or what it says if it is large.

    It may be cancelled without losing the frame: then it is read all the same, and returned.
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
