"""Silencing EVI and letting it speak again, by itself if need be."""

from dataclasses import replace

from evi_mcp.access.callers import Caller
from evi_mcp.chat.pause import Pause
from evi_mcp.clock import moment
from evi_mcp.protocol.commands import PauseAssistantMessage, ResumeAssistantMessage
from evi_mcp.supervision.effects import Acknowledged
from evi_mcp.supervision.intents import Always, Intent, Receipt
from evi_mcp.supervision.live_chat import LiveChat

WAIT_FOR_EFFECT_S = 2.0
"""How long a service that acknowledges such commands is waited for. EVI does not."""


class Pausing(Always):
    """With the write of a pause begins the promise that EVI speaks again."""

    def __init__(self, resume_after_s: float) -> None:
        self._resume_after_s = resume_after_s

    def begin(self, chat: LiveChat) -> None:
        """The pause and its end are in place before anything can come in between. They stay if nobody knows whether it
        arrived: a resume too many does no harm."""
        now, elapsed = moment(chat.clock)
        chat.record.pause.begin(self._resume_after_s, now=now, elapsed=elapsed)
        chat.pause_changed()


class Resuming(Always):
    """With the write of a resume the pause is over; if it may not have arrived, the promise stands."""

    def __init__(self) -> None:
        self._before = Pause()

    def begin(self, chat: LiveChat) -> None:
        """The pause is over."""
        self._before = replace(chat.record.pause)
        chat.record.pause.end()
        chat.pause_changed()

    def undo(self, chat: LiveChat) -> None:
        """It is not, unless another one has begun meanwhile."""
        if self._before.paused and not chat.record.pause.paused:
            chat.record.pause = self._before
            chat.pause_changed()


async def pause(chat: LiveChat, *, by: Caller, resume_after_s: float) -> Receipt:
    """Silences EVI, and sees to it that it speaks again after `resume_after_s` seconds (0: not by itself).

    Raises:
        NotSent, MaybeSent: As `Sending.send`. After `MaybeSent` it is ended all the same.
    """
    command = PauseAssistantMessage()
    intent = Intent(
        command=command,
        by=by,
        condition=Pausing(resume_after_s),
        effect=Acknowledged.of(command, chat.record.source),
        wait_for_effect_s=WAIT_FOR_EFFECT_S,
        terms={"resume_after_s": resume_after_s},
    )
    receipt = await chat.send(intent)
    return replace(receipt, resumes_at=chat.record.pause.shown_resumes_at)


async def resume(chat: LiveChat, *, by: Caller) -> Receipt:
    """Lets EVI speak again, by REST if there is no socket: a resume that comes twice does no harm.

    Raises:
        NotSent, MaybeSent: As `Sending.send`. After them the pause still ends by itself, if it was to.
    """
    command = ResumeAssistantMessage()
    intent = Intent(
        command=command,
        by=by,
        condition=Resuming(),
        effect=Acknowledged.of(command, chat.record.source),
        wait_for_effect_s=WAIT_FOR_EFFECT_S,
        may_post=True,
    )
    return await chat.send(intent)


def warn_if_paused(chat: LiveChat, receipt: Receipt) -> Receipt:
    """The receipt, with a warning if this server has paused the chat, so that nothing may come of the command."""
    if not chat.record.pause.paused:
        return receipt
    return replace(
        receipt, warning="this server has paused the chat: EVI answers nobody and uses no tools until resume"
    )
