"""Two services behind one seam: the chats of one are told by their ids, all others are the other's."""

from collections.abc import Callable

from evi_mcp.upstream.directory import Directory, ServiceChat
from evi_mcp.upstream.transport import Connector, Transport


class ConnectorBeside:
    """Reaches the chats of both, as a `Connector`.

    Args:
        is_first: Whether a chat is one of the first service.
        first, second: Their connectors.
    """

    def __init__(self, is_first: Callable[[str], bool], first: Connector, second: Connector) -> None:
        self._is_first, self._first, self._second = is_first, first, second

    async def connect(self, chat_id: str) -> Transport:
        """As `Connector.connect`."""
        return await self._of(chat_id).connect(chat_id)

    async def post(self, chat_id: str, frame: str, within_s: float) -> None:
        """As `Connector.post`."""
        await self._of(chat_id).post(chat_id, frame, within_s)

    async def explain_refusal(self, chat_id: str, status: int) -> str:
        """As `Connector.explain_refusal`."""
        return await self._of(chat_id).explain_refusal(chat_id, status)

    def _of(self, chat_id: str) -> Connector:
        return self._first if self._is_first(chat_id) else self._second


class DirectoryBeside:
    """Knows the chats of both, as a `Directory`."""

    def __init__(self, first: Directory, second: Directory) -> None:
        self._first, self._second = first, second

    @property
    def more_commands(self) -> frozenset[str]:
        """As `Directory.more_commands`."""
        return self._first.more_commands | self._second.more_commands

    def check_route(self) -> None:
        """There is a way to the first; the connector of the second says if there is none to it."""
        self._first.check_route()

    async def active_chats(self) -> tuple[list[ServiceChat], bool]:
        """Those of both, the first service's before.

        Raises:
            ServiceUnavailable: One of them cannot say.
        """
        found, more = await self._first.active_chats()
        others, more_others = await self._second.active_chats()
        return [*found, *others], more or more_others
