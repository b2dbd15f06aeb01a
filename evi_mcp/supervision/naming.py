"""Which chat an id means: the chat of that id, or the only one whose id begins with it. Pure."""

import re
from collections.abc import Iterable

from evi_mcp.supervision.refusals import AmbiguousChatId

SHORTEST = 8
"""The fewest characters of an id that stand for all of it; results print so many."""

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)


def meant(given: str, chat_ids: Iterable[str]) -> str:
    """The id among these that is meant; what was given, if none of them is.

    Raises:
        AmbiguousChatId: Several begin with it.
    """
    known = list(chat_ids)
    start = given.removesuffix("…")  # as pages print it
    if given in known or len(start) < SHORTEST:
        return given
    found = [chat_id for chat_id in known if chat_id.startswith(start)]
    if len(found) > 1:
        raise AmbiguousChatId(given, found)
    return found[0] if found else given


def may_be_whole(given: str, chat_id: str) -> bool:
    """Whether the beginning of this id may be the whole id of another chat. UUIDs are all of one length; ids of other
    makers may be `desk-order-1` and `desk-order-12`."""
    return given != chat_id and not _UUID.fullmatch(chat_id)
