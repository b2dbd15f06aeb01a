"""The seam between a supervisor and whatever knows which chats there are."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol


class ServiceChat(NamedTuple):
    """A chat as the service lists it. `started_ms` is Unix milliseconds (as in every sample of Hume's).

    What it is about, as far as the service says: `config` is the name or the id of its EVI config, `metadata` what its
    maker has noted, as text, `source` what it comes from if it is not EVI.
    """

    chat_id: str
    chat_group_id: str | None
    status: str
    started_ms: int | None
    config: str | None = None
    metadata: str | None = None
    source: str | None = None


MAX_ABOUT = 1000
"""Characters of each of them that are kept."""


def about(value: Any) -> str | None:
    """A text or an object of the service's as text; `None` for nothing, or for what is neither."""
    if isinstance(value, Mapping) and value:
        try:
            value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError):
            return None
    if not isinstance(value, str) or not value.strip():
        return None
    return value[:MAX_ABOUT].encode("utf-8", "replace").decode()


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
