"""Which tools a caller is shown: those of its level, and of those for which EVI has no command the ones that some chat
can be asked for."""

from evi_mcp.protocol.commands import EVI_COMMANDS
from evi_mcp.server.tools.spec import ToolSpec
from evi_mcp.supervision.desk import Desk


def commands_beyond_evi(desk: Desk) -> frozenset[str]:
    """The commands that EVI has not and that may be given now: some chat that the caller has attached to takes them, or
    one that it could attach to may."""
    taken = {command for chat in desk.chats() if not chat.over for command in chat.record.supports or ()}
    return frozenset(taken | desk.service_takes) - frozenset(EVI_COMMANDS)


def is_offered(spec: ToolSpec, desk: Desk) -> bool:
    """Whether a tool is listed for the caller. One that is not can be called all the same, and says what is missing."""
    return desk.offers(spec.access) and (spec.command is None or spec.command in commands_beyond_evi(desk))
