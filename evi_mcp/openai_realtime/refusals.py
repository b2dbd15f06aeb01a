"""Why a call cannot be attached to, or not any more: one sentence for each cause, which says what to do."""

from evi_mcp.openai_realtime.sideband import Refused
from evi_mcp.quoting import name, quote

FRESH_S = 15.0
"""For how long an id that was never seen may be unknown: right after a call is created it is (reported in public)."""

LONGEST_CALL = "the call has reached its maximum duration of 60 minutes"
OVER = "the call is over: the service no longer knows it (HTTP 404)"


def is_final(status: int) -> bool:
    """Whether no waiting heals it. 404 is another matter: it heals for an id that is fresh."""
    return 300 <= status < 500 and status not in (404, 408, 425, 429)


def sentence(refusal: Refused, fresh_s: float = FRESH_S) -> str:
    """The cause in words, as a part of a sentence.

    Args:
        refusal: Of the handshake.
        fresh_s: How long a 404 was waited for.
    """
    status, code = refusal.status, f", {name(refusal.code)}" if refusal.code else ""
    match status:
        case 401 | 403:
            return (
                f"the service refuses the key (HTTP {status}{code}); check that OPENAI_API_KEY belongs to the project"
                " that has opened the call"
            )
        case 404:
            waited = f", also after {fresh_s:g} s" if fresh_s else ""
            return (
                f"the service knows no such call (HTTP 404{code}){waited}: it is over, was never"
                " established, or belongs to another project than OPENAI_API_KEY; a session that was opened over a"
                " WebSocket has no call id and cannot be attached to"
            )
        case 429:
            wait = f" in {refusal.retry_after:g} s" if refusal.retry_after is not None else " later"
            return f"the service has too many requests or sessions of this account (HTTP 429{code}); try again{wait}"
    if 300 <= status < 400:
        return (
            f"the service redirects (HTTP {status}), which is not followed with a key; correct EVI_MCP_OPENAI_BASE_URL"
        )
    if status >= 500:
        return f"the service is in trouble (HTTP {status}{code}); try again later"
    return f"the service refused the connection (HTTP {status}{code})"


class CallNotAttached(Exception):
    """There is no sideband to a call; `status` is the HTTP status, or `None` if there was no answer. `retry_after`: as
    in `Refused`."""

    def __init__(self, call_id: str, why: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(call_id, why)
        self.call_id, self.why, self.status, self.retry_after = call_id, why, status, retry_after

    def __str__(self) -> str:
        return f"{quote(self.call_id, 80)} was not attached: {self.why}."
