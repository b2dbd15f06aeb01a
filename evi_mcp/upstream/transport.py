"""The seam between a chat and the network: frames in, text frames out, nothing else."""

from typing import Protocol

from evi_mcp.protocol.messages import ProtocolFault

NORMAL_CLOSURE = 1000


class Closed(Exception):
    """The connection is over. `code` is `None` if it broke without a close frame."""

    def __init__(self, code: int | None, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason


class Refused(Exception):
    """The handshake was answered with this HTTP status instead of 101.

    `retry_after` is how long the service asks clients to wait, in seconds, at most an hour; `None` if it does not say.
    """

    def __init__(self, status: int, retry_after: float | None = None) -> None:
        super().__init__(status, retry_after)
        self.status, self.retry_after = status, retry_after


class Unreachable(Exception):
    """No handshake took place; the text says why, for people, without secrets."""


class NotTaken(Exception):
    """A posted command certainly did not reach the chat; the text says why. `gone`: the service knows no such live
    chat."""

    def __init__(self, why: str, *, gone: bool = False) -> None:
        super().__init__(why)
        self.gone = gone


class MaybeTaken(Exception):
    """Nobody knows whether a posted command has reached the chat."""


class Transport(Protocol):
    """One open control-plane connection."""

    @property
    def is_open(self) -> bool:
        """Whether a frame can be written now."""
        ...

    @property
    def heard_at(self) -> float:
        """A stamp that changes whenever bytes arrive, also those of an unfinished frame.

        Compare it only with earlier values of itself, so that any clock will do.
        """
        ...

    async def receive(self) -> str | bytes | ProtocolFault:
        """The next frame. Cancelling it loses no frame.

        Returns:
            A text frame, the payload of a binary one, or a fault in place of text that is not UTF-8 or of a frame of
            more than `MAX_FRAME_BYTES`. No frame ends the connection.

        Raises:
            Closed: There are no more.
        """
        ...

    async def send(self, frame: str) -> None:
        """Writes a text frame; waits while the other side is slow to read. Cancelling it, as by a timeout, aborts the
        connection: the frame may have arrived already, but cannot arrive later.

        Raises:
            Closed: The connection ended before or during the write.
        """
        ...

    async def close(self) -> None:
        """Closes an open connection with 1000, and aborts it if the other side does not answer; never raises."""
        ...

    def abort(self) -> None:
        """Ends the connection at once: what the other side's system has not received by now never arrives. Does not
        wait; never raises."""
        ...


class Connector(Protocol):
    """Opens control-plane connections."""

    async def connect(self, chat_id: str) -> Transport:
        """A connection to a live chat.

        Raises:
            Refused: The service refused the handshake.
            Unreachable: There was no answer.
        """
        ...

    async def post(self, chat_id: str, frame: str, within_s: float) -> None:
        """Posts one command to a live chat, without a socket. Never retried.

        Raises:
            NotTaken: It did not reach the chat.
            MaybeTaken: It may have reached the chat.
        """
        ...

    async def explain_refusal(self, chat_id: str, status: int) -> str:
        """In words, the likely cause of a handshake refused with `status`, and what to do. Never raises."""
        ...
