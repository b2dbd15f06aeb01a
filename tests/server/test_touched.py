"""What subscribers are told has changed."""

import pytest

from evi_mcp.chat.events import Event
from evi_mcp.server.updates import touched_by


@pytest.mark.parametrize("kind", ["user_message", "tool_call", "chat_state"])
def test_whoever_watches_the_list_of_chats_hears_of_each_event(kind: str) -> None:
    """The list shows where each chat stands and what waits in it."""
    assert "evi://chats" in touched_by(Event(chat_id="c", at=0.0, type=kind))
