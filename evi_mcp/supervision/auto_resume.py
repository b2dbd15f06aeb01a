"""Ends pauses: lets EVI speak again, whatever happens to the socket, the chat's task or the clock.

A due resume goes out on the socket if there is one, else by REST (`POST .../send`), even for a chat that has failed
here or was detached, as long as the process lives. It is retried until the service takes it or no longer knows the
chat. The log, the journal and `get_chat` say if it could not be delivered.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence

import anyio
import anyio.to_thread

from evi_mcp.access.callers import AUTO_RESUME, Caller
from evi_mcp.chat.pause import Pause
from evi_mcp.clock import Clock
from evi_mcp.errors import EviMcpError, MaybeSent, NotSent
from evi_mcp.logs import fields
from evi_mcp.protocol.commands import ResumeAssistantMessage
from evi_mcp.protocol.lifecycle import State
from evi_mcp.supervision.actions.pausing import Resuming
from evi_mcp.supervision.intents import Intent
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.wakeups import Bell

WRITE_S = 2.0
"""How long one attempt may take, in seconds."""

_log = logging.getLogger(__name__)


class AutoResume:
    """Ends the pauses of all chats on time, also of those that nobody follows any more."""

    def __init__(
        self, clock: Clock, delays: Callable[[], Iterator[float]], make_ready: Callable[[], None] = lambda: None
    ) -> None:
        self._clock = clock
        self._delays = delays
        self._make_ready: Callable[[], None] | None = make_ready
        self._bell = Bell()
        self._paused: dict[LiveChat, None] = {}
        self._delivering: dict[LiveChat, None] = {}

    def watch(self, chat: LiveChat) -> None:
        """Call it when a pause of this chat has begun or ended."""
        if chat.record.pause.promised:
            self._paused[chat] = None
        else:
            self._paused.pop(chat, None)
        self._bell.ring()

    def hand_over(self, chat: LiveChat) -> None:
        """Gives `chat`, which is followed again, the pause that was left when it was detached. Otherwise the old resume
        would end a new pause, and nobody would see it."""
        for before in [other for other in self._paused if other.chat_id == chat.chat_id and other is not chat]:
            chat.record.pause, before.record.pause = before.record.pause, Pause()
            del self._paused[before]
            if before not in self._delivering:
                before.leave()
            self.watch(chat)

    async def run(self) -> None:
        """Delivers due resumes; never returns."""
        async with anyio.create_task_group() as group:
            while True:
                if self._paused and self._make_ready is not None:
                    # A resume may have to go by REST in the last second of the process; loading takes half of that.
                    group.start_soon(_in_a_thread, self._make_ready)
                    self._make_ready = None
                elapsed = self._clock.elapsed()
                for chat in self._paused:
                    if chat.record.pause.is_due(elapsed) and chat not in self._delivering:
                        self._delivering[chat] = None
                        group.start_soon(self._deliver, chat)
                with self._clock.timeout_at(self._next()):
                    await self._bell.wait()

    def _next(self) -> float:
        waiting = (chat.record.pause.resumes_at for chat in self._paused if chat not in self._delivering)
        return min((at for at in waiting if at is not None), default=math.inf)

    async def _deliver(self, chat: LiveChat) -> None:
        """Retries until EVI was told to go on, or the chat is over."""
        try:
            delays = self._delays()
            while chat.record.pause.promised:
                if await try_once(chat, AUTO_RESUME, WRITE_S):
                    return
                with self._clock.timeout_at(self._clock.elapsed() + next(delays)):
                    await chat.changed()
        finally:
            self._delivering.pop(chat, None)
            if not chat.record.pause.promised:
                self._paused.pop(chat, None)
                if chat.is_detached:
                    chat.leave()
            self._bell.ring()

    async def deliver_now(self, chats: Sequence[LiveChat], by: Caller, within_s: float) -> None:
        """Resumes at once those of these chats that have an auto-resume.

        Args:
            by: The caller who resumes.
            within_s: Returns after this many seconds at the latest; resumes that were not taken by then are logged.
        """
        promised = [chat for chat in chats if chat.record.pause.promised]
        with anyio.move_on_after(within_s):
            async with anyio.create_task_group() as group:
                for chat in promised:
                    group.start_soon(self._deliver_now, chat, by, within_s)
        for chat in promised:
            if chat.record.pause.promised:
                why = chat.record.pause.undelivered or "there was no time left"
                _log.error("EVI may stay silent", extra=fields(chat_id=chat.chat_id, reason=why))

    async def _deliver_now(self, chat: LiveChat, by: Caller, within_s: float) -> None:
        for share in (within_s / 3, within_s / 2):  # first the socket, then REST if the socket has not taken it
            if not chat.record.pause.promised or await try_once(chat, by, share):
                return


async def _in_a_thread(work: Callable[[], None]) -> None:
    try:
        await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
    except Exception as error:
        _log.warning("cannot make ready to post", extra=fields(reason=str(error)))


async def try_once(chat: LiveChat, by: Caller, write_timeout_s: float) -> bool:
    """Tries once to end the pause of a chat. Returns whether nothing is left to do; else the pause has the reason."""
    pause = chat.record.pause
    assert pause.resumes_at is not None
    if chat.state is State.ENDED and not chat.is_detached:
        return _end_of_chat(chat)
    intent = Intent(
        command=ResumeAssistantMessage(),
        by=by,
        condition=Resuming(pause.resumes_at),
        pre_authorised=True,
        patience_s=0.0,
        write_timeout_s=write_timeout_s,
        may_post=True,
    )
    try:
        await chat.send(intent)
    except MaybeSent:
        why = "the connection broke while it was being written"
    except NotSent as error:
        if error.gone:
            return _end_of_chat(chat)
        why = error.why
    except EviMcpError as error:
        why = str(error)
    except Exception as error:  # a fault in one chat must not stop the resumes of others
        _log.exception("resume failed", extra=fields(chat_id=chat.chat_id))
        why = f"a fault of this server: {type(error).__name__}"
    else:
        return True
    if chat.record.pause.promised:
        chat.record.pause.undelivered = why
        _log.warning("resume not delivered", extra=fields(chat_id=chat.chat_id, reason=why))
    return not chat.record.pause.promised


def _end_of_chat(chat: LiveChat) -> bool:
    """Ends the pause of a chat that is over. Returns `True`: nothing is left to do."""
    chat.record.pause.end()
    chat.pause_changed()
    return True
