"""Principals: whom a token stands for, and what it grants.

Scopes are a ladder, as levels are: `evi:barge` includes `evi:coach`, which includes `evi:monitor`.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from evi_mcp.access.callers import Access, Rights

SCOPE_PREFIX = "evi:"


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever a token was given to.

    Args:
        subject: The name of a static token, or `sub` of an OAuth token.
        rights: What the token grants. What its holder may do is never more than the server and the tenant allow.
        tenant: Whose chats it may reach; empty for those of the server's own settings.
        client: The OAuth client it was issued to; empty for a static token.
        issuer: Who issued it; empty for a static token.
        token_id: Names the token in the audit log, and does not open anything.
        expires_at: When it ends, in Unix seconds; `None` for never.
    """

    subject: str
    rights: Rights
    tenant: str = ""
    client: str = ""
    issuer: str = ""
    token_id: str = ""
    expires_at: float | None = None

    @property
    def key(self) -> str:
        """The same for all tokens of one holder, and different for any two holders."""
        parts = "\0".join((self.tenant, self.issuer, self.client, self.subject))
        return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def is_static(self) -> bool:
        """Whether the token is one of a file. Its holder cannot ask for another scope."""
        return not self.issuer

    @property
    def facts(self) -> dict[str, str]:
        """What the audit log says of it. The token itself is no part of it."""
        facts = {
            "tenant": self.tenant,
            "subject": self.subject,
            "issuer": self.issuer,
            "client": self.client,
            "token": self.token_id,
        }
        return {name: value for name, value in facts.items() if value}


def scope_of(access: Access) -> str:
    """The scope that grants a level."""
    return SCOPE_PREFIX + access.value


def access_of(scopes: Iterable[str]) -> Access | None:
    """The highest level that scopes grant; `None` for none."""
    granted = set(scopes)
    return next((level for level in reversed(Access) if scope_of(level) in granted), None)


def scopes_up_to(access: Access | None) -> list[str]:
    """The scopes of a level and of those below it; none for `None`."""
    return [scope_of(level) for level in Access if access is not None and access.allows(level)]
