"""Callers: who acts, as the server knows them, and what each may see and do.

What a client calls itself is a claim and no more: two clients may claim one name, and one may claim ours. So a caller
is known by the id that the server gives, and what the server does by itself has callers that nobody can claim to be.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from evi_mcp.quoting import name, quote

if TYPE_CHECKING:
    from evi_mcp.access.principals import Principal

MAX_CLAIM = 64
"""The longest name that a client may claim, in characters; the rest is cut."""


class Access(StrEnum):
    """The ladder: each level may do what the one before may."""

    MONITOR = "monitor"
    COACH = "coach"
    BARGE = "barge"

    def allows(self, needed: "Access") -> bool:
        """Whether a tool of the level `needed` may be used at this one."""
        ladder = list(Access)
        return ladder.index(needed) <= ladder.index(self)


class CallerKind(StrEnum):
    """What a caller is. Only this server makes callers of kind `SERVER`."""

    AGENT = "agent"
    PERSON = "person"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class Rights:
    """What a caller may do: tools up to `access`, in `chats` (`None`: in any)."""

    access: Access = Access.MONITOR
    chats: frozenset[str] | None = None

    def sees(self, chat_id: str) -> bool:
        """Whether the chat may be seen at all."""
        return self.chats is None or chat_id in self.chats


EVERYTHING = Rights(Access.BARGE)


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who acts.

    Args:
        id: Given by the server, equal for all that one caller does; reminders and audit records go by it.
        kind: Agent, person, or this server itself.
        claimed: The name it claims, without secrets; empty for none. Of this server's own: what it does, in our words.
        rights: What it may see and do.
        principal: Whose token it has shown; `None` where no token is asked for.
    """

    id: str
    kind: CallerKind
    claimed: str
    rights: Rights
    principal: "Principal | None" = None

    @property
    def signature(self) -> str:
        """What its own commands are known by: its id and name, for over HTTP without tokens clients may share an id."""
        return f"{self.id} {self.claimed}"

    @property
    def shown(self) -> str:
        """For a sentence: ours in plain words, all others by what their token proves and the quoted name they claim."""
        if self.kind is CallerKind.SERVER:
            return f"this server ({self.claimed})"
        if self.principal is not None:
            proven = name(self.principal.subject[:MAX_CLAIM])
            return f"{proven} via {quote(self.claimed)}" if self.claimed else proven
        return quote(self.claimed) if self.claimed else f"{'a' if self.kind is CallerKind.PERSON else 'an'} {self.kind}"


def agent(id: str, claimed: str, rights: Rights, principal: "Principal | None" = None) -> Caller:
    """An agent that calls itself `claimed`."""
    return Caller(id, CallerKind.AGENT, claimed[:MAX_CLAIM], rights, principal)


def _server(does: str) -> Caller:
    return Caller(f"server:{does.replace(' ', '-')}", CallerKind.SERVER, does, EVERYTHING)


FALLBACK = _server("tool call fallback")
AUTO_RESUME = _server("auto-resume")
SHUTDOWN = _server("shutdown")
DETACHING = _server("detaching")
