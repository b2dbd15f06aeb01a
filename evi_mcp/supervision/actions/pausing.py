"""Silencing EVI and letting it speak again, by itself if need be."""

from collections.abc import Callable
from dataclasses import replace

from evi_mcp.access.callers import Caller
from evi_mcp.chat.pause import Pause
from evi_mcp.clock import moment
from evi_mcp.errors import NotSent
from evi_mcp.protocol.commands import PauseAssistantMessage, ResumeAssistantMessage
from evi_mcp.supervision.actions.speaking import UnlessUserSpoke
from evi_mcp.supervision.effects import Acknowledged
from evi_mcp.supervision.intents import Always, Intent, Receipt
from evi_mcp.supervision.live_chat import LiveChat

WAIT_FOR_EFFECT_S = 2.0
"""How long a service that acknowledges such commands is waited for. EVI does not."""
REFUSAL_S = 0.3
"""How long a bot is waited for that refuses such a command but never confirms it."""
_NEVER_CONFIRM = frozenset({"pipecat", "livekit"})
"""Sources of such bots."""


class Pausing(Always):
    """With the write of a pause begins the promise that EVI speaks again."""

    def __init__(self, resume_after_s: float, guard: UnlessUserSpoke | None, on_write: Callable[[], None]) -> None:
        self._resume_after_s, self._guard, self._on_write = resume_after_s, guard, on_write
        self.needs_history = guard is not None
        self._before, self._begun = Pause(), Pause()

    def check(self, chat: LiveChat) -> None:
        """Raises as the guard, if it has one."""
        if self._guard is not None:
            self._guard.check(chat)

    def begin(self, chat: LiveChat) -> None:
        """The pause and its end are in place before anything can come in between. They stay if nobody knows whether it
        arrived: a resume too many does no harm."""
        now, elapsed = moment(chat.clock)
        self._before = replace(chat.record.pause)
        chat.record.pause.begin(self._resume_after_s, now=now, elapsed=elapsed)
        self._begun = replace(chat.record.pause)
        self._on_write()
        chat.pause_changed()

    def refused(self, chat: LiveChat) -> None:
        """EVI was not silenced: it is as it was, unless another pause or a resume has come in between."""
        if chat.record.pause == self._begun:
            chat.record.pause = self._before
            chat.pause_changed()


class Resuming(Always):
    """With the write of a resume the pause is over; if it may not have arrived, the promise stands.

    Args:
        only: The pause that it is to end, by when that ends by itself; `None` for whichever there is.
    """

    def __init__(self, only: float | None = None) -> None:
        self._only = only
        self._before = Pause()

    def check(self, chat: LiveChat) -> None:
        """Raises `NotSent` if the pause that it is to end is over, or another one has begun."""
        if self._only is not None and chat.record.pause.resumes_at != self._only:
            raise NotSent("resume_assistant_message", "the pause that it was to end is over")

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


async def pause(
    chat: LiveChat,
    *,
    by: Caller,
    resume_after_s: float,
    guard: UnlessUserSpoke | None = None,
    wait_s: float | None = None,
    on_write: Callable[[], None] = lambda: None,
) -> Receipt:
    """Silences EVI, and sees to it that it speaks again after `resume_after_s` seconds (0: not by itself).

    Args:
        guard: Refuses; `None` pauses whatever was said meanwhile.
        wait_s: Seconds to wait for a service that acknowledges it; `None` for 2.
        on_write: Called right before the write, when the pause has begun.

    Raises:
        UserSpoke, InvalidArgument: As the guard.
        NotSent, MaybeSent: As `Sending.send`. After `MaybeSent` it is ended all the same.
    """
    command = PauseAssistantMessage()
    intent = Intent(
        command=command,
        by=by,
        condition=Pausing(resume_after_s, guard, on_write),
        effect=Acknowledged.of(command, chat.record.source),
        wait_for_effect_s=_patience(chat) if wait_s is None else wait_s,
        terms={"resume_after_s": resume_after_s, **(guard.terms if guard is not None else {})},
    )
    receipt = await chat.send(intent)
    return replace(receipt, resumes_at=chat.record.pause.shown_resumes_at)


async def resume(chat: LiveChat, *, by: Caller, only: float | None = None) -> Receipt:
    """Lets EVI speak again, by REST if there is no socket: a resume that comes twice does no harm.

    Args:
        only: As `Resuming`.

    Raises:
        NotSent, MaybeSent: As `Sending.send`. After them the pause still ends by itself, if it was to.
    """
    command = ResumeAssistantMessage()
    intent = Intent(
        command=command,
        by=by,
        condition=Resuming(only),
        effect=Acknowledged.of(command, chat.record.source),
        wait_for_effect_s=_patience(chat),
        may_post=True,
    )
    return await chat.send(intent)


def _patience(chat: LiveChat) -> float:
    """Seconds to wait for the word of the chat's source."""
    never = chat.record.source_name in _NEVER_CONFIRM
    return min(REFUSAL_S, WAIT_FOR_EFFECT_S) if never else WAIT_FOR_EFFECT_S
