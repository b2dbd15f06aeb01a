"""What a receipt warns of, beside what it proves."""

from dataclasses import replace

from evi_mcp.supervision.intents import Receipt
from evi_mcp.supervision.live_chat import LiveChat


def warn_if_paused(chat: LiveChat, receipt: Receipt) -> Receipt:
    """The receipt, with a warning if this server has paused the chat, so that nothing may come of the command."""
    if not chat.record.pause.paused:
        return receipt
    return replace(
        receipt, warning="this server has paused the chat: EVI answers nobody and uses no tools until resume"
    )
