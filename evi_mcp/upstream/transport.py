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

    `retry_after` is how long the service asks not to be asked again, in seconds, at most an hour; `None` if it does not
    say.
    """

    def __init__(self, status: int, retry_after: float | None = None) -> None:
        super().__init__(status, retry_after)
        self.status, self.retry_after = status, retry_after


class Unreachable(Exception):
    """No handshake took place; the text says why, for people, without secrets."""


class NotTaken(Exception):
    """A posted command did not reach the chat, for sure; the text says why. `gone`: the service knows no such live
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
        """A stamp of the bytes that arrived last, perhaps of a frame that is not complete yet.

        It changes with every arrival and is compared with itself only, so that any clock will do.
        """
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

    async def post(self, chat_id: str, frame: str, within_s: float) -> None:
        """Posts one command to a live chat, without a socket. Never tried twice.

        Raises:
            NotTaken: It has not reached the chat.
            MaybeTaken: It may have.
        """
        ...

    async def explain_refusal(self, chat_id: str, status: int) -> str:
        """In words, the likely cause of a handshake refused with `status`, and what to do. Never raises."""
        ...
