"""Records of chats for tests of views, from frames."""

from collections.abc import Iterable

from evi_mcp.chat.record import ChatRecord
from evi_mcp.ledger.log import Cursors


def record_of(
    chat_id: str, frames: Iterable[str], *, live: bool = True, max_events: int = 10_000
) -> tuple[ChatRecord, Cursors]:
    """A chat in which these frames have come, once it was live or while it caught up; and the cursors into its log."""
    cursors = Cursors("e")
    record = ChatRecord(chat_id, cursors, max_events=max_events, now=1.0)
    record.connection_opened()
    if live:
        record.history.end_replay()
    record.changed(record.lifecycle.caught_up(), 1.0)
    for frame in frames:
        record.receive(frame, 2.0)
    return record, cursors
