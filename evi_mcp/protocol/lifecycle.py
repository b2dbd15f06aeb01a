"""The states of a chat as seen from here, and the only code that changes them.

    connecting -> live <-> reconnecting -> ended | failed

Rules: contract of this server, on top of what Hume documents: a close with 1000 is a normal end (user left,
timeout, `hang_up`), and the errors below end the chat. Everything undocumented is treated as passing trouble,
except refusals that no waiting heals.
"""

from dataclasses import dataclass
from enum import StrEnum

from evi_mcp.protocol.redaction import Mask
from evi_mcp.quoting import name, quote


class State(StrEnum):
    """Where a chat stands. `ENDED` is the chat's own end, `FAILED` is ours: we cannot follow it any more."""

    CONNECTING = "connecting"
    LIVE = "live"
    RECONNECTING = "reconnecting"
    ENDED = "ended"
    FAILED = "failed"


OVER = frozenset({State.ENDED, State.FAILED})

_ALLOWED = {
    State.CONNECTING: frozenset({State.LIVE, State.ENDED, State.FAILED}),
    State.LIVE: frozenset({State.RECONNECTING, State.ENDED, State.FAILED}),
    State.RECONNECTING: frozenset({State.LIVE, State.ENDED, State.FAILED}),
    State.ENDED: frozenset[State](),
    State.FAILED: frozenset[State](),
}

FATAL_ERRORS = {
    "E0714": "inactivity_timeout",
    "E0715": "max_duration_timeout",
    "I0116": "transcription_failure",
}
"""Codes of `error` events that end the chat, with their slugs (Hume's TypeScript proxy example, Swift SDK)."""

_PASSING_STATUS = frozenset({408, 425, 429})
GONE_STATUS = frozenset({404, 410})


@dataclass(frozen=True, slots=True)
class Change:
    """A change of state, or of the reason for staying in one.

    A reason is in our own words, one line; what the service said stands in quotes in it.
    """

    state: State
    reason: str | None


class Lifecycle:
    """Owns the state of one chat. Every method returns the change it made, or `None`.

    Args:
        mask: Takes secrets out of what the service says; by default there are none.
    """

    def __init__(self, mask: Mask | None = None) -> None:
        self._mask = mask or Mask()
        self.state = State.CONNECTING
        self.reason: str | None = None
        self.was_live = False
        self._last_error: str | None = None

    @property
    def over(self) -> bool:
        """Whether the chat is ended or failed; nothing leaves these states."""
        return self.state in OVER

    def caught_up(self) -> Change | None:
        """The connection stands and its replay has arrived."""
        self.was_live = True
        return self._go(State.LIVE, None)

    def heard_error(self, code: str | None, slug: str | None) -> Change | None:
        """An `error` event came; most of them leave the chat alive."""
        said = self._mask.said(slug or code or "without a code")
        self._last_error = name(said[:80])
        if code in FATAL_ERRORS or slug in FATAL_ERRORS.values():
            return self._go(State.ENDED, name(said[:80] if slug else FATAL_ERRORS[code or ""]))
        return None

    def closed(self, code: int | None, reason: str) -> Change | None:
        """The connection was closed by the service; `None` if it broke without a close frame."""
        reason = self._mask.said(reason)
        if code == 1000:
            return self._go(State.ENDED, f"EVI closed the chat{': ' + quote(reason, 125) if reason else ''}")
        what = "the connection broke" if code is None else f"the service closed the connection with {code}"
        error, self._last_error = self._last_error, None
        after = f", after the error {error}" if error else ""
        return self._trouble(f"{what}{after}{': ' + quote(reason, 125) if reason else ''}")

    def refused(self, status: int, cause: str) -> Change | None:
        """The handshake was answered with an HTTP status other than 101; `cause` says in words what it means."""
        if status in GONE_STATUS and self.was_live:
            return self._go(State.ENDED, f"the service no longer knows the chat (HTTP {status})")
        if 300 <= status < 500 and status not in _PASSING_STATUS:
            return self._go(State.FAILED, self._mask.said(cause))
        return self._trouble(self._mask.said(cause))

    def unreachable(self, why: str) -> Change | None:
        """No answer at all: network, TLS, time-out."""
        return self._trouble(self._mask(why))

    def gave_up(self, after_s: float) -> Change | None:
        """Reconnecting has failed for as long as the settings allow."""
        return self._go(State.FAILED, f"gave up after {after_s:g} s without a connection; last: {self.reason}")

    def broke(self, why: str) -> Change | None:
        """This server itself failed while following the chat."""
        return self._go(State.FAILED, why)

    def detached(self) -> Change | None:
        """An agent asked to stop following; the chat itself goes on."""
        if self.over:
            return Change(self.state, "detached")
        return self._go(State.ENDED, "detached")

    def _trouble(self, reason: str) -> Change | None:
        if self.state is State.LIVE:
            return self._go(State.RECONNECTING, reason)
        if self.over or reason == self.reason:
            return None
        self.reason = reason
        return Change(self.state, reason)

    def _go(self, state: State, reason: str | None) -> Change | None:
        if state not in _ALLOWED[self.state]:
            return None
        self.state, self.reason = state, reason
        return Change(state, reason)
