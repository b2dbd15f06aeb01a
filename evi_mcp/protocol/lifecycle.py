"""The states of a chat as seen from here, and the only code that changes them.

    connecting -> live <-> reconnecting -> ended | failed

Rules: docs/contract.md, section 3, on top of what Hume documents: a close with 1000 is a normal end (user left,
timeout, `hang_up`), and the errors below end the chat. Everything undocumented counts as temporary trouble,
except refusals that would not change by waiting.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from evi_mcp.protocol.redaction import Mask
from evi_mcp.quoting import name, quote


class State(StrEnum):
    """The state of a chat. `ENDED`: the chat itself is over. `FAILED`: this server cannot follow it any more."""

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

CATCHING_UP = "its history is still arriving"
"""The reason of a chat that is live and may still be in its replay."""

_PASSING_STATUS = frozenset({408, 425, 429})
GONE_STATUS = frozenset({404, 410})

POLICY_VIOLATION = 1008
DATA_REFUSED = frozenset({1002, 1003, 1007})
"""Closes that say that the other side's frames were wrong (RFC 6455, 7.4.1); EVI documents none."""
ANSWER_WITHIN_S = 2.0
"""A refusing close within so many seconds after the accept counts as the answer to the handshake."""
MAX_REFUSING_CLOSES = 3
"""After so many refusing closes in a row, the chat has failed."""
FORGIVEN_AFTER_S = 60.0
"""A connection that lasted for so many seconds restarts that count."""

DETACHED = "detached"
"""The reason of a chat that ended here only because an agent stopped following it."""

_SAYS_NOTHING = frozenset({"chat_metadata", "error", "protocol_fault"})
"""Types of events that do not prove that a chat goes on."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of state, or of the reason for staying in one.

    The reason is one line in our own words, with the service's words in quotes.
    """

    state: State
    reason: str | None


class Lifecycle:
    """Owns the state of one chat. Every method returns the change it made, or `None`.

    Args:
        mask: Removes secrets from what the service says; by default there are none.
    """

    def __init__(self, mask: Mask | None = None) -> None:
        self._mask = mask or Mask()
        self.state = State.CONNECTING
        self.reason: str | None = None
        self.was_live = False
        self._last_error: str | None = None
        self._replayed_end: str | None = None
        self._refusing_closes = 0

    @property
    def over(self) -> bool:
        """Whether the chat is ended or failed; only `reopened` leaves these states."""
        return self.state in OVER

    @property
    def may_have_ended(self) -> bool:
        """Whether the newest event of the replay is an error that ends a chat."""
        return self._replayed_end is not None

    def catching_up(self) -> Change | None:
        """The connection stands, commands can go out, and the replay may still be running."""
        return self._live(CATCHING_UP)

    def caught_up(self) -> Change | None:
        """The connection stands and its replay has arrived. If its last event is an error that ends a chat, the chat
        has ended."""
        if self._replayed_end is not None:
            return self._go(State.ENDED, self._replayed_end)
        return self._live(None)

    def heard(self, kind: str) -> None:
        """A new event of this type came: a chat that goes on was not ended by an error in its history."""
        if kind not in _SAYS_NOTHING:
            self._replayed_end = None

    def heard_error(self, code: str | None, slug: str | None, *, replayed: bool = False) -> Change | None:
        """An `error` event came; most of them leave the chat alive.

        A replayed error that ends a chat did not end this one if anything comes after it: the chat may have been
        resumed. So `heard`, `caught_up` and `closed` decide.
        """
        said = self._mask.said(slug or code or "without a code")
        self._last_error = name(said[:80])
        if code in FATAL_ERRORS or slug in FATAL_ERRORS.values():
            reason = name(said[:80] if slug else FATAL_ERRORS[code or ""])
            if not replayed:
                return self._go(State.ENDED, reason)
            self._replayed_end = reason
        return None

    def closed(self, code: int | None, reason: str, stood_s: float = math.inf) -> Change | None:
        """The connection was closed by the service `stood_s` seconds after it was accepted.

        A refusing close (1008, or 4000 to 4999) right after the accept means `failed`, like a 4xx of the handshake. So
        does the third close in a row that refuses, or says that frames were wrong (1002, 1003, 1007).

        Args:
            code: That of the close frame; `None` if the connection broke without one.
        """
        reason = self._mask.said(reason)
        said = f": {quote(reason, 125)}" if reason else ""
        if code == 1000:
            return self._go(State.ENDED, self._replayed_end or f"EVI closed the chat{said}")
        what = "the connection broke" if code is None else f"the service closed the connection with {code}"
        is_policy = code is not None and (code == POLICY_VIOLATION or 4000 <= code <= 4999)
        if is_policy and stood_s <= ANSWER_WITHIN_S:
            return self._go(State.FAILED, f"{what} as soon as it was accepted{said}")
        if is_policy or code in DATA_REFUSED:
            self._refusing_closes = 1 if stood_s >= FORGIVEN_AFTER_S else self._refusing_closes + 1
            if self._refusing_closes >= MAX_REFUSING_CLOSES:
                return self._go(
                    State.FAILED, f"{what}; it has refused {MAX_REFUSING_CLOSES} connections in a row{said}"
                )
        else:
            self._refusing_closes = 0
        error, self._last_error = self._last_error, None
        return self._trouble(f"{what}{f', after the error {error}' if error else ''}{said}")

    def refused(self, status: int, cause: str) -> Change | None:
        """The handshake was answered with an HTTP status other than 101; `cause` says in words what it means."""
        if status in GONE_STATUS and self.was_live:
            return self._go(State.ENDED, f"the service no longer knows the chat (HTTP {status})")
        if 300 <= status < 500 and status not in _PASSING_STATUS:
            return self._go(State.FAILED, self._mask.said(cause))
        return self._trouble(self._mask.said(cause))

    def unreachable(self, why: str) -> Change | None:
        """There was no answer at all: network, TLS, timeout."""
        return self._trouble(self._mask(why))

    def gave_up(self, after_s: float) -> Change | None:
        """Reconnecting has failed for as long as the settings allow."""
        return self._go(State.FAILED, f"gave up after {after_s:g} s without a connection; last: {self.reason}")

    def reopened(self) -> Change | None:
        """Somebody attached again to a chat that was over, and the service accepted: it may have been resumed."""
        if not self.over:
            return None
        self._replayed_end = self._last_error = None
        self._refusing_closes = 0
        self.state, self.reason = State.RECONNECTING, "attached again"
        return Change(self.state, self.reason)

    def broke(self, why: str) -> Change | None:
        """This server itself failed while following the chat."""
        return self._go(State.FAILED, why)

    def detached(self) -> Change | None:
        """An agent asked to stop following; the chat itself goes on."""
        if self.over:
            return Change(self.state, DETACHED)
        return self._go(State.ENDED, DETACHED)

    def _live(self, reason: str | None) -> Change | None:
        self.was_live = True
        if self.state is not State.LIVE:
            return self._go(State.LIVE, reason)
        return self._stay(reason)

    def _trouble(self, reason: str) -> Change | None:
        if self.state is State.LIVE:
            return self._go(State.RECONNECTING, reason)
        return None if self.over else self._stay(reason)

    def _stay(self, reason: str | None) -> Change | None:
        if reason == self.reason:
            return None
        self.reason = reason
        return Change(self.state, reason)

    def _go(self, state: State, reason: str | None) -> Change | None:
        if state not in _ALLOWED[self.state]:
            return None
        self.state, self.reason = state, reason
        return Change(state, reason)
