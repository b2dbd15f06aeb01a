"""Commands on their way from a consumer to the bot, each until it is done, refused or too late.

A bot whose link was cut gets them when it is back. What would be spoken is the exception: it is delivered within five
seconds or not at all, for a line that comes half a minute late is spoken over somebody.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from evi_mcp.hub.consumers import Consumer
from evi_mcp.hub.json_frames import write
from evi_mcp.protocol.commands import EVI_COMMANDS, publish_adapter

MAX_PENDING = 1000
MAX_PENDING_BYTES = 16 * 2**20
MAX_WRITES = 3
"""On so many connections a command is tried; one at which each of them breaks would keep the bot away for good."""
SPOKEN_WITHIN_S = 5.0
FORGOTTEN_AFTER_S = 60.0
"""For how long the hub remembers a command of which the bot does not say what became of it."""

SPOKEN = frozenset({"user_input", "assistant_input"})
"""What the caller hears, or hears an answer to."""


class CommandRefused(Exception):
    """A command that the bot does not carry out.

    `command` is its type, `why` half a sentence; `code` and `slug` are those of the `error` for its sender.
    """

    code, slug = "E9002", "command_refused"
    _what = "was refused by the bot"

    def __init__(self, command: str, why: str) -> None:
        super().__init__(command, why)
        self.command, self.why = command, why

    def __str__(self) -> str:
        return f"{self.command} {self._what}: {self.why}."


class NotSupported(CommandRefused):
    """The chat's `supports` does not name it."""

    code, slug = "E9001", "command_not_supported"
    _what = "is not supported by this chat"


class NotDelivered(CommandRefused):
    """The bot cannot be reached now, or too much waits for it; nothing was handed over."""

    code, slug = "E9003", "command_not_delivered"
    _what = "was not delivered"


class OutcomeUnknown(CommandRefused):
    """It was handed over, and the link broke before the bot said what became of it."""

    code, slug = "E9004", "command_outcome_unknown"
    _what = "may or may not have been carried out"


@dataclass(eq=False)
class Delivery:
    """A command that was accepted.

    `message` may hold a secret (`language_model_api_key`). `sender` is `None` for one that came without a socket.
    `written_on` is the connection to the bot on which it was last written, of so many `writes`; `None` if on none.
    """

    id: str
    message: Mapping[str, Any] = field(repr=False)
    sender: Consumer | None
    accepted_at: float
    size: int = 0
    written_on: object = None
    writes: int = 0

    @property
    def type(self) -> str:
        return str(self.message["type"])


def check(value: Any, supports: frozenset[str] | None, source: str) -> Mapping[str, Any]:
    """The command, if it is one that the chat takes: one of EVI's seven, or another that `supports` names.

    Args:
        value: The object in a frame, or the body of `/send`.
        supports: The types that the chat takes; `None` for EVI's seven.
        source: What the chat comes from, for the sentence.

    Raises:
        ValidationError: It is no such message.
        NotSupported: The chat does not take it.
    """
    extra = frozenset() if supports is None else supports.difference(EVI_COMMANDS)
    named = value.get("type") if isinstance(value, dict) else None
    kind = named if isinstance(named, str) and named in extra else publish_adapter.validate_python(value).type
    if supports is not None and kind not in supports:
        known = ", ".join(sorted(supports)) or "no command"
        raise NotSupported(kind, f"its source is {source}, which takes {known}")
    found: Mapping[str, Any] = value
    return found


class Pending:
    """The commands of one chat of which the outcome is not known yet, oldest first."""

    def __init__(self) -> None:
        self._deliveries: dict[str, Delivery] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._deliveries)

    def __iter__(self) -> Iterator[Delivery]:
        return iter(tuple(self._deliveries.values()))

    def __contains__(self, delivery: Delivery) -> bool:
        return delivery.id in self._deliveries

    def add(self, delivery: Delivery, max_bytes: int) -> None:
        """Keeps a command of at most so many bytes.

        Raises:
            NotDelivered: It is too large, or too many wait already.
        """
        delivery.size = len(write(delivery.message))
        if delivery.size > max_bytes:
            raise NotDelivered(delivery.type, f"it takes {delivery.size} bytes, and its source {max_bytes} at most")
        if len(self) >= MAX_PENDING or self._bytes + delivery.size > MAX_PENDING_BYTES:
            raise NotDelivered(delivery.type, "too many commands wait for the bot")
        self._deliveries[delivery.id] = delivery
        self._bytes += delivery.size

    def settle(self, id_: str) -> Delivery | None:
        """Forgets a command, whose outcome is known now; `None` if it is not known, or not any more."""
        delivery = self._deliveries.pop(id_, None)
        if delivery is not None:
            self._bytes -= delivery.size
        return delivery

    def drop_all_but(self, kind: str) -> None:
        """Forgets every command of another type."""
        for delivery in self:
            if delivery.type != kind:
                self.settle(delivery.id)

    def forget_late(self, now: float, *, away: bool) -> list[tuple[Delivery, CommandRefused | None]]:
        """Forgets what is too late; returns it with what its sender is to be told, if anything.

        Args:
            now: Seconds.
            away: Whether the bot cannot be reached now.
        """
        late: list[tuple[Delivery, CommandRefused | None]] = []
        for delivery in self:
            age = now - delivery.accepted_at
            if delivery.type in SPOKEN and age >= SPOKEN_WITHIN_S and (away or delivery.written_on is None):
                late.append((delivery, _too_late(delivery)))
            elif delivery.written_on is not None and age >= FORGOTTEN_AFTER_S:
                late.append((delivery, None))
        for delivery, _ in late:
            self.settle(delivery.id)
        return late


def _too_late(delivery: Delivery) -> CommandRefused:
    if delivery.written_on is not None:
        return OutcomeUnknown(delivery.type, "the link to the bot broke before it said so")
    return NotDelivered(delivery.type, f"the bot could not be reached for {SPOKEN_WITHIN_S:g} s")
