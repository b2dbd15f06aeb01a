"""What all chats of a process share."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from evi_mcp.chat.memory import Memory
from evi_mcp.clock import Clock
from evi_mcp.ledger.journal import Journal
from evi_mcp.ledger.ledger import Ledger
from evi_mcp.protocol.redaction import Mask
from evi_mcp.upstream.transport import Connector


@dataclass(frozen=True, slots=True)
class House:
    """What all chats of a process share, and their limits.

    Args:
        connector: Opens the sockets, and posts single commands.
        ledger: Numbers and keeps events.
        clock: Measures time everywhere.
        journal: Records commands before they are sent.
        memory: The memory budget of all chats.
        mask: Removes secrets from everything that is kept.
        max_events: The most events kept for each chat.
        max_audio: The most characters of audio kept for each chat; 0 keeps none.
        make_ready: Loads what `Connector.post` needs, so that the first post takes no longer than any other. Called
            once, in a thread, when the first pause begins.
        tool_call_fallback: Seconds after which this server answers a tool call that nobody has; `None` if it does not.
        salt: The salt of event identities (`Identities`); the speakers of a chat must not know it.
    """

    connector: Connector
    ledger: Ledger
    clock: Clock
    journal: Journal
    memory: Memory
    mask: Mask
    max_events: int = 10_000
    max_audio: int = 0
    make_ready: Callable[[], None] = lambda: None
    tool_call_fallback: float | None = None
    salt: bytes = field(default_factory=lambda: secrets.token_bytes(32))
