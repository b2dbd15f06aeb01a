"""What can be a chat id. Hume's are UUIDs; other services may have others, but none that changes an address."""

import re

from evi_mcp.errors import InvalidChatId

_CHAT_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.\-]{1,128}", re.ASCII)


def check_chat_id(chat_id: str) -> str:
    """The id, if it is one that may be put into an address.

    Raises:
        InvalidChatId: It is not.
    """
    if not _CHAT_ID.fullmatch(chat_id):
        raise InvalidChatId(chat_id)
    return chat_id
