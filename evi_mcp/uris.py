"""The `evi://` addresses of resources: which there are, and how they are made. They are always ASCII."""

import re
from urllib.parse import quote, unquote

CHATS = "evi://chats"
"""The list of attached chats."""
EVENTS, TRANSCRIPT, TOOL_CALLS = "events", "transcript", "tool-calls"
"""The names of a chat's views in its addresses."""

CHAT_TEMPLATE = f"{CHATS}/{{chat_id}}"
EVENTS_TEMPLATE = f"{CHAT_TEMPLATE}/{EVENTS}{{?after,limit}}"
TRANSCRIPT_TEMPLATE = f"{CHAT_TEMPLATE}/{TRANSCRIPT}"
TOOL_CALLS_TEMPLATE = f"{CHAT_TEMPLATE}/{TOOL_CALLS}"
AUDIO_TEMPLATE = f"{CHAT_TEMPLATE}/audio/{{message_id}}"

LONGEST = 4096
"""Characters of an address that can be subscribed to. Ours are shorter: an id of 256 characters takes up to 3,072."""

_OURS = re.compile(
    rf"{CHATS}(/(?P<chat>[A-Za-z0-9_.\-]{{1,128}})(/({EVENTS}|{TRANSCRIPT}|{TOOL_CALLS}|audio/(?P<message>[^/?#]+)))?)?"
)
_OTHER = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[!-~]*")


def chat(chat_id: str, view: str = "") -> str:
    """The address of an attached chat, or of one of its views. `chat_id` has been checked."""
    return f"{CHATS}/{chat_id}{'/' + view if view else ''}"


def audio(chat_id: str, message_id: str) -> str:
    """The address of the audio of a message; its id may hold any characters."""
    return chat(chat_id, f"audio/{quote(message_id.encode('utf-8', 'replace'), safe='')}")


def can_change(uri: str) -> bool:
    """Whether a client may subscribe to this address: one of ours, without a query, spelled as it is here.

    Addresses of other schemes are accepted too, although they never change: the protocol's conformance suite
    subscribes to some.
    """
    if len(uri) > LONGEST:
        return False
    if not uri.startswith("evi:"):
        return bool(_OTHER.fullmatch(uri))
    ours = _OURS.fullmatch(uri)
    if ours is None or ours["message"] is None:
        return ours is not None
    return audio(ours["chat"], unquote(ours["message"])) == uri  # updates name only our own spelling
