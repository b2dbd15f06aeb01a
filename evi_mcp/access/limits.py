"""What one caller may have of what all share: chats attached, commands in a minute. Waits are counted where they wait.

A caller is known by its token, however many connections it opens. Who shows none has the server to itself.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable

from evi_mcp.access.callers import Caller
from evi_mcp.errors import CallerLimit

MINUTE_S = 60.0
MAX_REMEMBERED = 10_000
"""Callers whose commands are counted; who has been quiet for longest is forgotten first."""


class CallerLimits:
    """The limits of each caller.

    Args:
        chats: Attached at once, by who attached them first.
        commands: Sent within any minute.
    """

    def __init__(self, chats: int, commands: int) -> None:
        self._chats = chats
        self._commands = commands
        self._attached_by: dict[str, str] = {}
        self._sent: OrderedDict[str, deque[float]] = OrderedDict()

    def attach(self, caller: Caller, chat_id: str, attached: Iterable[str]) -> None:
        """The caller attaches a chat that is not among those that are `attached`.

        Raises:
            CallerLimit: It has attached too many.
        """
        if caller.principal is None:
            return
        there, key = set(attached), caller.principal.key
        self._attached_by = {chat: by for chat, by in self._attached_by.items() if chat in there}
        if sum(by == key for by in self._attached_by.values()) >= self._chats:
            raise CallerLimit(
                f"attached {self._chats} chats", "EVI_MCP_CALLER_CHATS", "detach one with detach_chat first"
            )
        self._attached_by[chat_id] = key

    def command(self, caller: Caller, elapsed: float) -> None:
        """The caller gives a command, at this second of `Clock.elapsed`.

        Raises:
            CallerLimit: It has given too many within a minute.
        """
        if caller.principal is None:
            return
        key = caller.principal.key
        sent = self._sent.setdefault(key, deque())
        self._sent.move_to_end(key)
        while sent and sent[0] <= elapsed - MINUTE_S:
            sent.popleft()
        if len(sent) >= self._commands:
            raise CallerLimit(
                f"given {self._commands} commands within a minute",
                "EVI_MCP_CALLER_COMMANDS",
                f"the next one is free in {sent[0] + MINUTE_S - elapsed:.0f} s",
            )
        sent.append(elapsed)
        if len(self._sent) > MAX_REMEMBERED:
            self._sent.popitem(last=False)
