"""The seam between a supervisor and the list of a service's chats."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable


class ServiceChat(NamedTuple):
    """A chat as the service lists it. `started_ms` is Unix milliseconds (as in every sample of Hume's).

    If the service says so: `config` is the name or the id of its EVI config, `metadata` the text that its creator has
    attached, `source` what it comes from if not EVI.
    """

    chat_id: str
    chat_group_id: str | None
    status: str
    started_ms: int | None
    config: str | None = None
    metadata: str | None = None
    source: str | None = None


MAX_ABOUT = 1000
"""The most characters of each of them that are kept."""


def about(value: Any) -> str | None:
    """A text or an object from the service, as text; `None` for an empty one, and for any other value."""
    if isinstance(value, Mapping) and value:
        try:
            value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError):
            return None
    if not isinstance(value, str) or not value.strip():
        return None
    return value[:MAX_ABOUT].encode("utf-8", "replace").decode()


class Directory(Protocol):
    """Lists the chats of a service, attached or not."""

    @property
    def more_commands(self) -> frozenset[str]:
        """Commands that EVI has not and that some of its chats may take; which ones do, each says itself."""
        ...

    def check_route(self) -> None:
        """Returns if the settings of this machine allow a way to the service.

        Raises:
            ServiceUnavailable: They do not; only other settings can change that.
        """
        ...

    async def active_chats(self) -> tuple[list[ServiceChat], bool]:
        """The live chats, newest first, and whether there are more than these.

        Raises:
            ServiceUnavailable: The service cannot be reached, refuses, or gives an unusable answer.
        """
        ...


@runtime_checkable
class Announces(Protocol):
    """A directory that knows at once when a chat begins."""

    def announce(self, to: Callable[[ServiceChat], None]) -> Callable[[], None]:
        """Calls `to` with each chat that can be attached to: with those that are live, and from now on with each that
        begins. Undone by what is returned."""
        ...

    def is_live(self, chat_id: str) -> bool:
        """Whether the chat has not ended."""
        ...
