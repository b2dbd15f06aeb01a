"""How long clients wait for an answer, as far as they have shown: what they no longer wait for reaches nobody.

A client that gives up does not say after which time, and most do not say that they have. Three things show it: a call
that it cancels; a call that it makes again while the same one waits; and one that it makes again from the same cursor
although that was answered with a later one. Time is an argument here.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

USUAL_S = 5.0, 10.0, 30.0, 60.0
"""Time-outs of clients, as they are set when nobody sets them: openai-agents, google-adk and autogen 5 s, agno 10 s,
smolagents 30 s, the TypeScript SDK 60 s. What was called again had been given up after one of them."""
SHORTEST_S = 4.5
"""Who cancels sooner, and does not say that its time was up, had another reason."""
SHARE = 0.8
"""Of the time after which a client gives up; the rest is for the way there and back."""
LESSON_S = 600.0
"""How long a client is thought impatient: a person may have cancelled, or set another time-out."""
MAX_CALLERS = 1000
"""Callers of which something is known; who was heard of longest ago is forgotten first."""
MAX_CALLS = 16
"""Calls of one caller that are remembered; likewise."""


def nothing() -> None:
    """Does nothing."""


@dataclass(eq=False)
class Call:
    """A call that waits, or has waited.

    Attributes:
        question: All its arguments: who asks the same again asks again. `None` where others may ask the same.
        request: Its id on the connection, as text.
        began, ended: By `Clock.elapsed`; `ended` is `None` while it waits.
        moved: Whether its answer had another cursor than the call.
        dismiss: Ends it; nobody waits for its answer.
        take_back: What it has told counts as not told.
    """

    question: Hashable | None
    request: str
    began: float
    dismiss: Callable[[], None]
    take_back: Callable[[], None] = nothing
    ended: float | None = None
    moved: bool = False

    def end(self, now: float, take_back: Callable[[], None]) -> None:
        """It waits no more. What has waited is let go: it holds chats, which may be detached."""
        self.ended, self.dismiss, self.take_back = now, nothing, take_back


@dataclass
class _Known:
    calls: list[Call] = field(default_factory=list)
    gives_up_after: float = math.inf
    until: float = -math.inf


class Patience:
    """What is known of all clients. Each is named by who calls, and where several programs may call as one, by what it
    claims to be as well: programs of one kind give up after the same time."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def of(self, caller: str, now: float) -> float:
        """Seconds after which this caller's client gives up; infinite where nothing is known."""
        known = self._known.get(caller)
        return known.gives_up_after if known is not None and now < known.until else math.inf

    def begin(self, caller: str, call: Call) -> None:
        """A call begins to wait. One that asked the same, and of whose answer nothing was seen, was given up."""
        known = self._known.setdefault(caller, _Known())
        self._known.move_to_end(caller)
        same = [former for former in known.calls if call.question is not None and former.question == call.question]
        for former in same:
            waited = (former.ended or call.began) - former.began
            if (former.ended is None or former.moved) and waited >= SHORTEST_S:
                self._gave_up(known, max((usual for usual in USUAL_S if usual <= waited), default=waited), call.began)
                former.dismiss()
            if former.ended is not None:
                known.calls.remove(former)
        known.calls = [*known.calls, call][-MAX_CALLS:]
        if len(self._known) > MAX_CALLERS:
            self._known.popitem(last=False)

    def abandoned(self, caller: str, call: Call, now: float) -> None:
        """It was cancelled while it waited, or its client has gone."""
        if now - call.began >= SHORTEST_S:
            self._gave_up(self._known.setdefault(caller, _Known()), now - call.began, now)

    def cancelled(self, caller: str, request: str, now: float, *, timed_out: bool) -> None:
        """The client has said that it no longer waits for this one, be it answered or not.

        Args:
            timed_out: Whether its reason was that time was up.
        """
        known = self._known.get(caller)
        call = next((call for call in known.calls if call.request == request), None) if known is not None else None
        if known is None or call is None:
            return
        call.take_back()
        if timed_out or now - call.began >= SHORTEST_S:
            self._gave_up(known, now - call.began, now)

    def _gave_up(self, known: _Known, after: float, now: float) -> None:
        known.gives_up_after = min(after, known.gives_up_after if now < known.until else math.inf)
        known.until = now + LESSON_S
