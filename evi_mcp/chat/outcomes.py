"""What became of the commands of a chat, by the number of their `command` events."""

from typing import NamedTuple

from evi_mcp.chat.events import Event


class Outcome(NamedTuple):
    """`status` as in receipts (`sent`, `confirmed`, `reworded`), or `no_effect`, `maybe_sent`, `not_sent`. `shown_by`
    is the event that says so; `None` if none does."""

    status: str
    shown_by: int | None = None


class Outcomes:
    """The outcomes of the commands that the log has."""

    def __init__(self) -> None:
        self._known: dict[int, Outcome] = {}

    def tell(self, seq: int, status: str, shown_by: int | None = None) -> None:
        """A command has come so far. What an event has shown is not taken back by what only a write says."""
        known = self._known.get(seq)
        if known is None or known.shown_by is None:
            self._known[seq] = Outcome(status, shown_by)

    def of(self, seq: int) -> Outcome | None:
        """What became of a command; `None` if it is on its way, or was given elsewhere."""
        return self._known.get(seq)

    def forget(self, event: Event) -> None:
        """The log has dropped an event."""
        self._known.pop(event.seq, None)
