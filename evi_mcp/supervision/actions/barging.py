"""Barging in: EVI is silenced, speaks a line, and goes on once the line was heard.

Nobody may be left with a mute assistant. The pause ends by itself from the moment it is written (`auto_resume`), and
whatever goes wrong after it ends it sooner: a line that is refused or lost, a client that gives up, the end of the
process.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

import anyio

from evi_mcp.access.callers import Caller
from evi_mcp.chat.events import Event
from evi_mcp.clock import moment
from evi_mcp.errors import EviMcpError, NotSupported
from evi_mcp.protocol.commands import AssistantInput, PauseAssistantMessage, ResumeAssistantMessage
from evi_mcp.supervision.actions import pausing
from evi_mcp.supervision.actions.speaking import UnlessUserSpoke, speak
from evi_mcp.supervision.intents import Receipt
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.supervision.refusals import BrokenOff
from evi_mcp.supervision.sending import check_supported
from evi_mcp.wakeups import Bell

WORDS_PER_S = 2.5
"""How fast a line is spoken, where nothing shows when it ends; some 150 words a minute."""
TAIL_S = 1.0
"""What is added to that."""
UNDO_S = 3.0
"""How long a barge-in that is broken off may take to let EVI go on; after that the pause ends by itself."""
PROOF_S = 2.0
"""How long the proof of the line is waited for where no pause depends on it."""

_OVER_BEFORE = "the pause was over before: it had lasted as long as it may, or somebody has ended it"
_ENDS_A_LINE = frozenset({"assistant_end", "user_interruption"})
_WAKES = _ENDS_A_LINE | {"chat_state", "audio_output"}


@dataclass(frozen=True, slots=True)
class BargeIn:
    """What happened, step by step.

    Args:
        line: The receipt of the line.
        paused: That of the pause; `None` if EVI was not paused for it, for the reason in `not_paused`.
        resumed: That of the resume; `None` if EVI was not told to go on by this call, for the reason in `not_resumed`.
        pause_s: Seconds from the pause until EVI was told to go on; `None` if it was not.
        resumes_at: When EVI is told to go on by itself, in Unix seconds; `None` if it is not paused, or not to be.
    """

    line: Receipt
    paused: Receipt | None = None
    not_paused: str | None = None
    resumed: Receipt | None = None
    not_resumed: str | None = None
    pause_s: float | None = None
    resumes_at: float | None = None


async def barge_in(
    chat: LiveChat,
    command: AssistantInput,
    *,
    by: Caller,
    guard: UnlessUserSpoke | None,
    resume: bool,
    limit_s: float,
) -> BargeIn:
    """Pauses EVI, has it speak a line and, with `resume`, lets it go on once that was spoken.

    Args:
        guard: Refuses before the pause, and again before the line.
        limit_s: Seconds after which the pause ends in any case; more than 0.

    Raises:
        NotSupported, InvalidCommand: The line cannot be spoken; nothing was done.
        UserSpoke, InvalidArgument, NotSent: Nothing was done.
        MaybeSent: The pause may have arrived. It ends by itself.
        BrokenOff: The line was not spoken, and EVI goes on.
    """
    command.frame()
    check_supported(chat, command.type)
    if (why := _why_not_paused(chat, resume=resume)) is not None:
        return BargeIn(await speak(chat, command, by=by, guard=guard, wait_s=PROOF_S), not_paused=why)
    silence, began = _Silence(chat, by), chat.clock.elapsed()
    with _Line(chat, command) as line:
        try:
            silenced = await pausing.pause(
                chat, by=by, resume_after_s=limit_s, guard=guard, wait_s=0.0, on_write=silence.begins
            )
            wait_s = silence.left_s() if resume else min(PROOF_S, limit_s)
            said = await speak(chat, command, by=by, guard=guard, wait_s=wait_s, on_write=line.begins)
            if not resume:
                return BargeIn(said, paused=silenced, not_resumed="`resume` ends it", resumes_at=silence.resumes_at)
            await line.spoken(said, silence)
            receipt, why_not = await silence.end()
        except EviMcpError as error:
            if not silence.lasts:
                raise
            raise BrokenOff(error, await silence.end_in_time()) from error
        except BaseException:  # the client has given up, or the process ends
            if line.begun:
                silence.end_after(line.length_s)
            else:
                await silence.end_in_time()
            raise
    return BargeIn(
        said,
        paused=silenced,
        resumed=receipt,
        not_resumed=why_not,
        pause_s=None if silence.lasts else chat.clock.elapsed() - began,
        resumes_at=silence.resumes_at,
    )


def _why_not_paused(chat: LiveChat, *, resume: bool) -> str | None:
    """Why EVI is not paused for the line; `None` if it is."""
    if chat.record.pause.paused:
        return "it was paused already, and stays so until that pause ends"
    needed = [PauseAssistantMessage().type, *([ResumeAssistantMessage().type] if resume else [])]
    for kind in needed:
        try:
            check_supported(chat, kind)
        except NotSupported:
            return f"this chat takes no {kind}, so its assistant may have spoken in between"
    return None


class _Silence:
    """The pause of a barge-in, and its end."""

    def __init__(self, chat: LiveChat, by: Caller) -> None:
        self._chat, self._by = chat, by
        self._ends_at: float | None = None

    def begins(self) -> None:
        """It has begun, and ends by itself."""
        self._ends_at = self._chat.record.pause.resumes_at

    @property
    def lasts(self) -> bool:
        """Whether it has begun and is not over; another pause is none of its business."""
        return self._ends_at is not None and self._chat.record.pause.resumes_at == self._ends_at

    @property
    def resumes_at(self) -> float | None:
        """When it ends by itself, in Unix seconds; `None` if it is over."""
        return self._chat.record.pause.shown_resumes_at if self.lasts else None

    def left_s(self) -> float:
        """Seconds until it ends by itself."""
        return max(0.0, (self._ends_at or 0.0) - self._chat.clock.elapsed()) if self.lasts else 0.0

    async def end(self) -> tuple[Receipt | None, str | None]:
        """Lets EVI go on; the receipt, or why there is none."""
        if not self.lasts:
            return None, _OVER_BEFORE
        try:
            return await pausing.resume(self._chat, by=self._by, only=self._ends_at), None
        except EviMcpError as error:
            return None, str(error) if self.lasts else _OVER_BEFORE

    async def end_in_time(self) -> str:
        """Lets EVI go on, whoever gives up meanwhile; what came of it, in a sentence."""
        with anyio.move_on_after(UNDO_S, shield=True):
            await self.end()
        if self.lasts:
            return "EVI could not be told to go on yet, which is tried again until it is."
        return "EVI was told to go on."

    def end_after(self, seconds: float) -> None:
        """Has it end by itself after so many seconds, if that is sooner."""
        if not self.lasts or seconds >= self.left_s():
            return
        now, elapsed = moment(self._chat.clock)
        self._chat.record.pause.begin(seconds, now=now, elapsed=elapsed)
        self.begins()
        self._chat.pause_changed()


class _Line:
    """A line that EVI speaks: whether it is over. Listens from entering to leaving."""

    def __init__(self, chat: LiveChat, command: AssistantInput) -> None:
        self._chat = chat
        self.length_s = len(command.text.split()) / WORDS_PER_S + TAIL_S
        """How long it takes to say it, roughly."""
        self.begun = False
        """Whether it may have been written."""
        self._over_seq = 0
        self._bell = Bell()

    def __enter__(self) -> Self:
        self._chat.listeners.add(self._hear, _WAKES)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._chat.listeners.remove(self._hear)

    def begins(self) -> None:
        """Its write comes next."""
        self.begun = True

    def _hear(self, event: Event) -> None:
        if event.type in _ENDS_A_LINE:
            self._over_seq = event.seq
        self._bell.ring()

    async def spoken(self, said: Receipt, silence: _Silence) -> None:
        """Returns once the line was heard: EVI has ended its turn or was interrupted, and its voice has ended; where
        neither shows, after as long as it takes to say it. At once, if the line came to nothing or the pause is over.
        """
        chat, clock = self._chat, self._chat.clock
        if said.confirmed_by is None:
            return
        said_by = clock.elapsed() + self.length_s
        while silence.lasts and not chat.over:
            voice_ends = chat.record.spoke_at
            ends_at = voice_ends if self._over_seq > said.confirmed_by else max(voice_ends, said_by)
            if ends_at <= clock.elapsed():
                return
            if silence.left_s() <= 0:
                return
            with clock.timeout_at(min(ends_at, clock.elapsed() + silence.left_s())):
                await self._bell.wait()
