"""Commands from the hub, each executed at most once. No sockets, no clock, no awaiting.

A hub that lost the connection before it read the outcome sends the command again under the same id: it gets the
outcome, and nothing happens twice.
"""

from collections import OrderedDict
from dataclasses import dataclass

MAX_REMEMBERED = 10_000
"""Ids that are remembered; of more, the oldest is forgotten."""
REPEATED = 100
"""Outcomes that are told again to a hub that comes back, since it may not have read them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a command; `refused` is the reason, `None` if it was done."""

    id: str
    refused: str | None = None

    def frame(self) -> dict[str, str]:
        """As the link sends it."""
        return {"done": self.id} if self.refused is None else {"refused": self.id, "reason": self.refused}


class Inbox:
    """The ids of the commands of one hub."""

    def __init__(self) -> None:
        self._outcomes: OrderedDict[str, Outcome | None] = OrderedDict()

    def is_new(self, id_: str) -> bool:
        """Whether the command has to be executed; from now on it is known."""
        if id_ in self._outcomes:
            return False
        self._outcomes[id_] = None
        if len(self._outcomes) > MAX_REMEMBERED:
            self._outcomes.popitem(last=False)
        return True

    def outcome(self, id_: str) -> Outcome | None:
        """What became of a known command; `None` while it is executed."""
        return self._outcomes.get(id_)

    def settle(self, outcome: Outcome) -> None:
        """The command is done or refused."""
        if outcome.id in self._outcomes:
            self._outcomes[outcome.id] = outcome

    def recent(self) -> list[Outcome]:
        """The newest outcomes, oldest first."""
        settled = [outcome for outcome in list(self._outcomes.values())[-REPEATED:] if outcome is not None]
        return settled

    def forget(self) -> None:
        """Another hub numbers its commands anew."""
        self._outcomes.clear()
