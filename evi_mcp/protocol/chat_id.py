"""Checks chat ids. Hume's are UUIDs; other services may use other ids, but none that could change a URL."""

import re

from evi_mcp.errors import InvalidChatId

_CHAT_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.\-]{1,128}", re.ASCII)


def check_chat_id(chat_id: str) -> str:
    """The id, if it is safe in a URL.

    Raises:
        InvalidChatId: It is not safe.
    """
    if not _CHAT_ID.fullmatch(chat_id):
        raise InvalidChatId(chat_id)
    return chat_id
