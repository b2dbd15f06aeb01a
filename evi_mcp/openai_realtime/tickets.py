"""What a command's sender is told: once, that it was carried out or why not. As the hub's `SourceCommand`."""

from collections.abc import Mapping
from typing import Any, Protocol

from evi_mcp.openai_realtime.reading import Message


class Ticket(Protocol):
    """A command that waits to be settled."""

    @property
    def message(self) -> Mapping[str, Any]:
        """The command itself."""
        ...

    def done(self) -> None:
        """The service has taken it."""
        ...

    def refuse(self, reason: str | None) -> None:
        """It is not carried out; why is the end of a sentence."""
        ...


class Unheard:
    """A command of this server's own, of which nobody waits to hear.

    Args:
        message: The command.
    """

    def __init__(self, message: Mapping[str, Any]) -> None:
        self.message = message

    def done(self) -> None:
        """Tells nobody."""

    def refuse(self, reason: str | None) -> None:
        """Tells nobody."""


def result_of(ticket: Ticket, status: str, note: str = "") -> Message:
    """The `command_result` for a command whose effect no message of EVI's shows.

    Args:
        ticket: The command.
        status: `confirmed`: the service has shown the effect.
        note: What to know about it, in sentences.
    """
    session_id = ticket.message.get("custom_session_id")
    return {
        "type": "command_result",
        "command": ticket.message["type"],
        "status": status,
        **({"note": note} if note else {}),
        **({"custom_session_id": session_id} if session_id else {}),
    }
