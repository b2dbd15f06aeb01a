"""What the other consumers see of a supervisor's tool answers and settings: once, whoever shows it.

The hub shows them when the bot has carried them out. Many bots show what they have taken as well, before or after they
say that it is done.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from evi_mcp.hub.json_frames import write
from evi_mcp.protocol.redaction import redact

MIRRORED = frozenset({"tool_response", "tool_error", "session_settings"})
MAX_REMEMBERED = 200


class Mirrors:
    """What was shown of commands by one side, and may still come from the other."""

    def __init__(self) -> None:
        self._by_hub: OrderedDict[bytes, None] = OrderedDict()
        self._by_bot: OrderedDict[bytes, None] = OrderedDict()

    def bot_shows(self, message: Mapping[str, Any], *, expected: bool) -> bool:
        """The bot publishes a message; whether it is to be shown, since the hub has not done so.

        Args:
            message: Of any type.
            expected: Whether a command may be meant of which the bot has not said yet that it is done.
        """
        if message["type"] == "tool_call":
            self._forget_call(message.get("tool_call_id"))
        if message["type"] not in MIRRORED:
            return True
        key = _key(message)
        if key in self._by_hub:
            del self._by_hub[key]
            return False
        if expected:
            _remember(self._by_bot, key)
        return True

    def hub_shows(self, message: Mapping[str, Any]) -> bool:
        """The bot has carried a command out; whether the hub is to show it, since the bot has not done so."""
        key = _key(message)
        if key in self._by_bot:
            del self._by_bot[key]
            return False
        _remember(self._by_hub, key)
        return True

    def _forget_call(self, tool_call_id: Any) -> None:
        """Some providers use the ids of calls again: an answer to this one is another answer."""
        wanted = write({"tool_call_id": tool_call_id})[1:-1]
        for known in (self._by_hub, self._by_bot):
            for key in [key for key in known if wanted in key]:
                del known[key]


def _key(message: Mapping[str, Any]) -> bytes:
    """What makes it the same command; a bot may add the name of the tool, or `level`."""
    kind = message["type"]
    if kind == "session_settings":
        hidden = redact({name: value for name, value in message.items() if name != "custom_session_id"})
        return write({name: hidden[name] for name in sorted(hidden)})
    return write({"type": kind, **{name: message.get(name) for name in ("tool_call_id", "content", "error")}})


def _remember(known: OrderedDict[bytes, None], key: bytes) -> None:
    known[key] = None
    if len(known) > MAX_REMEMBERED:
        known.popitem(last=False)
