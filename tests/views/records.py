"""Records of chats for tests of views, from frames."""

from collections.abc import Iterable

from evi_mcp.chat.record import ChatRecord
from evi_mcp.ledger.cursors import Cursors
from evi_mcp.times import Moment
from tests.folding import FoldedChat


def folded(chat_id: str, frames: Iterable[str], *, live: bool = True, max_events: int = 10_000) -> FoldedChat:
    """A live chat in which these frames have come, after it had caught up or while it did."""
    chat = FoldedChat(chat_id=chat_id, max_events=max_events, at=1.0)
    if live:
        chat.caught_up()
    chat.append(chat.reader.changed(chat.reader.lifecycle.caught_up(), Moment(1.0, 1.0)), 1.0)
    for frame in frames:
        chat.receive(frame, 2.0)
    return chat


def record_of(
    chat_id: str, frames: Iterable[str], *, live: bool = True, max_events: int = 10_000
) -> tuple[ChatRecord, Cursors]:
    """The record of such a chat, and the cursors into its log."""
    chat = folded(chat_id, frames, live=live, max_events=max_events)
    return chat.record, chat.ledger.cursors
