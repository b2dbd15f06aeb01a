"""The seam between a supervisor and whatever knows which chats there are."""

from typing import NamedTuple, Protocol


class ServiceChat(NamedTuple):
    """A chat as the service lists it. `started_ms` is Unix milliseconds (as in every sample of Hume's)."""

    chat_id: str
    chat_group_id: str | None
    status: str
    started_ms: int | None


class Directory(Protocol):
    """Knows the chats of a service, attached or not."""

    def check_route(self) -> None:
        """Returns if there is a way to the service, as far as this machine's settings say.

        Raises:
            ServiceUnavailable: There is none; nothing heals that but other settings.
        """
        ...

    async def active_chats(self) -> tuple[list[ServiceChat], bool]:
        """The live chats, newest first, and whether there are more than are listed.

        Raises:
            ServiceUnavailable: It cannot be reached, refuses, or answers something else.
        """
        ...
