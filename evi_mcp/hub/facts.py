"""What a chat of the hub says of itself, to each who connects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evi_mcp.hub.json_frames import write


@dataclass
class Facts:
    """What is known of a chat from its opening on.

    `source` is a name, or an object with a `name` and versions. `supports` are the types of the commands that it
    takes; `None` for all of EVI's. `metadata` is the source's own, an object or text. `config_id` and
    `allow_connection` are EVI's.
    """

    chat_id: str
    chat_group_id: str
    source: str | Mapping[str, Any] = "custom"
    supports: frozenset[str] | None = None
    metadata: str | Mapping[str, Any] | None = None
    config_id: str | None = None
    allow_connection: bool = True
    more: dict[str, Any] = field(default_factory=dict)
    """Fields that the source added to `chat_metadata`."""

    @property
    def source_name(self) -> str:
        """The source in one word."""
        named = self.source if isinstance(self.source, str) else self.source.get("name")
        return str(named or "custom")

    def chat_metadata(self, request_id: str) -> bytes:
        """The first frame of a connection. `source` and `supports` are ours; EVI has not got them."""
        return write(
            {
                "type": "chat_metadata",
                **self.more,
                "chat_id": self.chat_id,
                "chat_group_id": self.chat_group_id,
                "request_id": request_id,
                "source": self.source,
                **({} if self.supports is None else {"supports": sorted(self.supports)}),
            }
        )
