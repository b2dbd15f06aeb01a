"""The seam between a chat and the network: frames in, text frames out, nothing else."""

from typing import Protocol
from urllib.parse import urlsplit

from evi_mcp.protocol.messages import ProtocolFault

NORMAL_CLOSURE = 1000


def is_loopback(base_url: str) -> bool:
    """Whether the service runs on this machine."""
    host = urlsplit(base_url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def may_use_proxy(base_url: str) -> bool:
    """Whether a proxy of the environment may stand between: it would read the key if the service has no TLS."""
    return base_url.lower().startswith("https:") and not is_loopback(base_url)


class Closed(Exception):
    """The connection is over. `code` is `None` if it broke without a close frame."""

    def __init__(self, code: int | None, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason


class Refused(Exception):
    """The handshake was answered with this HTTP status instead of 101."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Unreachable(Exception):
    """No handshake took place; the text says why, for people, without secrets."""


class Transport(Protocol):
    """One open control-plane connection."""

    @property
    def is_open(self) -> bool:
        """Whether a frame can be written now."""
        ...

    @property
    def heard_at(self) -> float:
        """When bytes last arrived, perhaps of a frame that is not complete yet (`time.monotonic()`)."""
        ...

    async def receive(self) -> str | bytes | ProtocolFault:
        """The next frame; may be cancelled without losing one.

        Returns:
            A text frame, the payload of a binary one, or the fault that stands for one that cannot be given: text that
            is not UTF-8, or a frame of more than `MAX_FRAME_BYTES`. No frame ends the connection.

        Raises:
            Closed: There are no more.
        """
        ...

    async def send(self, frame: str) -> None:
        """Writes a text frame; waits while the other side is slow to read. If it is cancelled, as by a time limit, the
        connection is aborted, so that the frame cannot arrive later: it may have arrived, or never will.

        Raises:
            Closed: The connection ended before or while it was written.
        """
        ...

    async def close(self) -> None:
        """Closes with 1000 if it is still open, and aborts it where the other side does not take part; never raises."""
        ...

    def abort(self) -> None:
        """Ends the connection at once: what the other side's system has not taken by now never arrives. Plain code;
        never raises."""
        ...


class Connector(Protocol):
    """Opens control-plane connections."""

    async def connect(self, chat_id: str) -> Transport:
        """A connection to a live chat.

        Raises:
            Refused: The service answered and said no.
            Unreachable: There was no answer.
        """
        ...

    async def explain_refusal(self, chat_id: str, status: int) -> str:
        """In words, the likely cause of a handshake refused with `status`, and what to do. Never raises."""
        ...
