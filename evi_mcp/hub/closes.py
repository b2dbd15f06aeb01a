"""How a connection ends: a code of RFC 6455, and a reason that fits into its frame."""

from typing import Final, NamedTuple

NORMAL_CLOSURE: Final = 1000
GOING_AWAY: Final = 1001
POLICY_VIOLATION: Final = 1008
INTERNAL_ERROR: Final = 1011
TRY_AGAIN_LATER: Final = 1013

MAX_REASON_BYTES = 123
"""A close frame has room for so many bytes of UTF-8 (RFC 6455, section 5.5)."""


class Close(NamedTuple):
    """The code and the reason with which a connection is closed."""

    code: int
    reason: str

    @property
    def wire_reason(self) -> str:
        """The reason, cut to what a close frame can hold."""
        data = self.reason.encode("utf-8", "replace")[:MAX_REASON_BYTES]
        return data.decode("utf-8", "ignore")


class Ending(NamedTuple):
    """How a chat ended. `status` is one of the REST API's (`USER_ENDED`, ...); consumers are closed with `close`."""

    status: str
    close: Close
