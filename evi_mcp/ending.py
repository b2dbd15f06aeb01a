"""Ends the process within a time limit, even if something hangs.

A client closes stdin or sends a signal, waits for about 2 s, and then kills the process (the MCP Python SDK does). By
then every paused chat must be resumed and every socket closed. So the first reason to end starts a timer that neither
a stuck event loop nor a thread blocked on a pipe can delay.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from queue import SimpleQueue
from types import FrameType
from typing import Any, NoReturn

from evi_mcp import logs
from evi_mcp.errors import EviMcpError

LIMIT_S = 1.9
"""How long the process may live after the first reason to end, in seconds."""
LAST_LINES_S = 0.05
"""The part of `LIMIT_S` that is reserved for the last lines of the log, in seconds."""

_LEFT_ALONE = {
    *("SIGKILL", "SIGSTOP"),  # cannot be caught
    *("SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGCONT"),  # stop a process and let it go on
    *("SIGCHLD", "SIGURG", "SIGWINCH", "SIGINFO"),  # do nothing
    *("SIGPIPE", "SIGXFSZ"),  # Python ignores them; the write fails
    *("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS"),  # a fault, after which nothing can go on
}
SIGNALS = signal.valid_signals() - {getattr(signal, name) for name in _LEFT_ALONE if hasattr(signal, name)}
"""Signals that end the process at once unless it catches them."""

_log = logging.getLogger(__name__)


class Ending:
    """The end of this process. Create it in the main thread, inside the event loop.

    Args:
        on_begin: Called in the event loop when the end begins.
        notice_s: Seconds from the first signal until the end begins; a second signal begins it at once.
        on_notice: Called in the event loop at the first signal, with the reason, if `notice_s` is not 0.
    """

    def __init__(
        self,
        on_begin: Callable[[], None],
        *,
        notice_s: float = 0.0,
        on_notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._on_begin = on_begin
        self._notice_s = notice_s
        self._on_notice = on_notice
        self._loop = asyncio.get_running_loop()
        self._statuses: SimpleQueue[int] = SimpleQueue()  # `put` is allowed in a signal handler that interrupts `put`
        self._clock = threading.Thread(target=self._end_in_time, name="end in time", daemon=True)
        self._clock.start()
        self.status: int | None = None
        """The exit status, once the end has begun: that of the first reason."""
        self.reason = ""
        """The first reason to end, in words, for the log."""

    def catch_signals(self) -> None:
        """Makes each signal begin the end; the exit status is 128 plus the signal's number.

        An ignored SIGHUP stays ignored (`nohup`), and a signal with another handler keeps it. The handlers are never
        restored: a signal must not interrupt the closing.
        """
        for signum in SIGNALS:
            handler = signal.getsignal(signum)
            is_hangup = signum == getattr(signal, "SIGHUP", None)
            is_ignored = handler is signal.SIG_IGN
            if handler in (signal.SIG_DFL, signal.default_int_handler) or (is_ignored and not is_hangup):
                signal.signal(signum, self._receive)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        status, reason = 128 + signum, f"{_name(signum)} received"
        if self._notice_s and self.status is None:
            notice_s, self._notice_s = self._notice_s, 0.0
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._give_notice, notice_s, status, reason)
        else:
            self.begin(status, reason)

    def _give_notice(self, notice_s: float, status: int, reason: str) -> None:
        self._on_notice(reason)
        self._loop.call_later(notice_s, self.begin, status, reason)

    def begin(self, status: int, reason: str) -> None:
        """Begins the end, unless it has begun. Any thread and any signal handler may call it."""
        if self.status is None:
            self.status, self.reason = status, reason
            self._statuses.put(status)
            with suppress(RuntimeError):  # the loop is closed: nothing is left to do
                self._loop.call_soon_threadsafe(self._on_begin)

    def _end_in_time(self) -> None:
        status = self._statuses.get()
        time.sleep(LIMIT_S - LAST_LINES_S)
        now(status, LAST_LINES_S)


def now(status: int, patience_s: float = logs.FLUSH_S) -> NoReturn:
    """Ends the process, whatever its threads do.

    Args:
        patience_s: How long to wait until somebody has read the last lines of the log, in seconds.
    """
    logs.flush(patience_s)
    os._exit(status)


def run(serving: Coroutine[Any, Any, int]) -> NoReturn:
    """Runs a server to its end, and ends the process with its status, whatever threads are left.

    Raises:
        EviMcpError: It could not begin.
    """
    asyncio.run(_run(serving))
    raise AssertionError("it has ended the process")


async def _run(serving: Coroutine[Any, Any, int]) -> NoReturn:
    try:
        status = await serving
    except Exception as error:
        cause: BaseException = error
        while isinstance(cause, ExceptionGroup) and len(cause.exceptions) == 1:
            cause = cause.exceptions[0]
        if isinstance(cause, EviMcpError):
            raise cause from None
        _log.error("the server failed", exc_info=cause)
        status = 1
    now(status)  # within the loop: closing it would give the signals back


def _name(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:  # one of the real-time signals
        return f"signal {signum}"


def open_standard_streams() -> bool:
    """Opens the standard streams that were closed before the process began. Returns whether stdout was open.

    Otherwise the next file or socket would get the descriptor of one of them. A closed stdin then reads as empty, and
    a closed stderr discards everything.
    """
    was_open = [_is_open(descriptor) for descriptor in range(3)]
    for descriptor, found in enumerate(was_open):
        if not found:
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)
    return was_open[1]


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
