"""An intent: all that there is to a command before it is sent. What becomes of it is a receipt."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from evi_mcp.access.callers import Caller
from evi_mcp.protocol.commands import Command
from evi_mcp.supervision.effects import Effect

if TYPE_CHECKING:
    from evi_mcp.supervision.live_chat import LiveChat

WAIT_FOR_LIVE_S = 5.0
"""How long a command waits for a chat that can take it."""
WRITE_TIMEOUT_S = 5.0
"""How long a write may take. One that takes longer ends the connection, so that it cannot arrive later."""


class Condition(Protocol):
    """What has to be true when a command is written, and what its write changes here."""

    needs_history: bool
    """Whether it depends on what was said, so that it cannot be decided while the chat is catching up."""

    def check(self, chat: "LiveChat") -> None:
        """Raises an `EviMcpError` to refuse. Changes nothing: it is asked again right before the write."""
        ...

    def begin(self, chat: "LiveChat") -> None:
        """The write comes next, with nothing in between."""
        ...

    def undo(self, chat: "LiveChat") -> None:
        """Nobody knows whether the command has arrived."""
        ...

    def refused(self, chat: "LiveChat") -> None:
        """The command was not carried out: nothing of it was written, or the chat's source says so, perhaps later."""
        ...


class Always:
    """The condition of a command that has none."""

    needs_history = False

    def check(self, chat: "LiveChat") -> None:
        """Never refuses."""

    def begin(self, chat: "LiveChat") -> None:
        """Changes nothing."""

    def undo(self, chat: "LiveChat") -> None:
        """Changes nothing."""

    def refused(self, chat: "LiveChat") -> None:
        """As `undo`."""
        self.undo(chat)


@dataclass(frozen=True, kw_only=True)
class Intent:
    """A command that somebody wants to send.

    Args:
        command: Checked when it was made.
        by: Who wants it.
        condition: Asked right before the write.
        effect: How its effect shows; `None` if EVI shows none of such a command.
        wait_for_effect_s: Seconds to wait for that; 0 does not wait.
        terms: Its conditions, for the audit log.
        pre_authorised: An earlier command announced it: it is sent even if the audit log cannot be written.
        patience_s: How long it waits for a chat that can take it; 0 takes the socket as it is, `None` waits 5 s.
        write_timeout_s: How long its write may take.
        may_post: Where there is no socket, it goes by REST. Only for what does no harm if it comes twice.
        facts: Fields of its `command` event.
    """

    command: Command
    by: Caller
    condition: Condition = field(default_factory=Always)
    effect: Effect | None = None
    wait_for_effect_s: float = 0.0
    terms: Mapping[str, Any] = field(default_factory=dict)
    pre_authorised: bool = False
    patience_s: float | None = None
    write_timeout_s: float = WRITE_TIMEOUT_S
    may_post: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof of a command.

    `cursor_seq` is the last event before it, `confirmed_by` the event that shows its effect, `said` what was spoken
    there if it was other words than were given, `resumes_at` when a pause ends by itself (Unix seconds, for showing).
    `call_seq` is the event of the tool call that was answered, where
    its id names several.
    """

    chat_id: str
    command: str
    seq: int
    cursor_seq: int
    confirmed_by: int | None = None
    said: str | None = None
    resumes_at: float | None = None
    warning: str | None = None
    call_seq: int | None = None
