"""Why a token does not open the door. Over HTTP each becomes a status: 401, 403 and 503."""

from evi_mcp.errors import EviMcpError


class TokenRefused(EviMcpError):
    """A token that opens nothing. `why` may be shown to whoever sent it, and holds nothing of it."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"the token is refused: {self.why}."


class NoScope(EviMcpError):
    """A good token that grants nothing of this server."""


class TokenUnverified(EviMcpError):
    """Whether a token is good can only be said by an issuer that does not answer now."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"the token cannot be checked now: {self.why}; try again."
