"""Refusals of the desk's own, which are built from what it knows of its chats."""

from collections.abc import Iterable

from evi_mcp.errors import EviMcpError, InvalidChatId, listing
from evi_mcp.quoting import quote


class AmbiguousChatId(InvalidChatId):
    """The beginning of an id that may mean several chats; `ids` are the full ones."""

    def __init__(self, chat_id: str, ids: Iterable[str]) -> None:
        super().__init__(chat_id)
        self.ids = tuple(ids)

    def __str__(self) -> str:
        which = "several chats" if len(self.ids) > 1 else "another chat as well as this one"
        return f"{quote(self.chat_id, 80)} may mean {which}: {listing(self.ids)}; nothing was done, give the full id."


class GuardsNothing(EviMcpError):
    """`unless_user_spoke_after` was given a word in place of a cursor."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word

    def __str__(self) -> str:
        why = (
            "nobody can have spoken after the moment of this call"
            if self.word == "latest"
            else "the user has always spoken after the beginning"
        )
        return (
            f"nothing was sent: unless_user_spoke_after={self.word!r} guards nothing, since {why}; pass the `cursor` of"
            " the page on which you decided, or leave it out."
        )


class BrokenOff(EviMcpError):
    """A barge-in that did not get to its line, after EVI was paused; `cause` is why, `then` what became of the
    pause."""

    def __init__(self, cause: EviMcpError, then: str) -> None:
        super().__init__(str(cause))
        self.cause, self.then = cause, then
        self.audited = cause.audited

    def __str__(self) -> str:
        return f"EVI was paused, and then: {self.cause} {self.then}"
