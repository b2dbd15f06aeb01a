"""Checks names of event types and of scores. An unknown name is refused, with the names that exist.

Services other than EVI have types and scores of their own: a name also exists once a chat has brought it.
"""

import re
from collections.abc import Collection, Iterable
from difflib import SequenceMatcher

from evi_mcp.chat.events import HISTORY_TRUNCATED, KNOWN
from evi_mcp.chat.record import ChatRecord
from evi_mcp.errors import InvalidArgument, listing
from evi_mcp.protocol.prosody import SCORE_NAMES

CHAT_ENDED = "chat_ended"
"""Not a type of event, but a reason why a wait returns."""
ENDS_ANYWAY = (
    f"{CHAT_ENDED} is neither an event type nor a trigger: the end of a chat always wakes a wait, so leave it out;"
    " `chat_state` events say how a chat goes on."
)
EVENT_TYPES = KNOWN | {HISTORY_TRUNCATED}

_SCORES = {name.casefold(): name for name in SCORE_NAMES}
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.() -]{0,39}")
_MOST_SHOWN = 80
_PLAYS_EVI = "script"
"""The source of simulated calls, whose voices are all scored as EVI does."""


def is_evis(record: ChatRecord) -> bool:
    """Whether every voice of the chat is scored with EVI's 48 scores."""
    return record.source in (None, _PLAYS_EVI)


def is_evis_score(score: str) -> bool:
    """Whether it is one of EVI's 48 scores, ignoring case."""
    return score.strip().casefold() in _SCORES


def check_types(types: Iterable[str], given: Collection[str] = ()) -> None:
    """Checks the types that are asked for.

    Args:
        given: Types that have come, whatever they are.

    Raises:
        InvalidArgument: Some do not exist.
    """
    unknown = [kind for kind in types if kind not in EVENT_TYPES and kind not in given]
    if CHAT_ENDED in unknown:
        raise InvalidArgument(ENDS_ANYWAY)
    if unknown:
        raise InvalidArgument(
            f"no chat has given an event of type {listing(unknown, 3)}; the types are"
            f" {', '.join(closest_first(unknown[0], {*EVENT_TYPES, *given}))}."
        )


def check_scores(scores: Iterable[str], records: Collection[ChatRecord]) -> None:
    """Checks the scores that are waited for.

    Args:
        records: All chats that the caller may see.

    Raises:
        InvalidArgument: Some are not EVI's, none of the chats has given them, and all chats are EVI's.
    """
    unknown = [score for score in scores if not is_evis_score(score)]
    given = {name for record in records for speaker in ("user", "assistant") for name in record.turns.names(speaker)}
    folded = {name.casefold() for name in given}
    unknown = [score for score in unknown if score.strip().casefold() not in folded]
    if unknown and all(is_evis(record) for record in records):
        raise InvalidArgument(
            f"there is no score {listing(unknown, 3)}; the scores are"
            f" {', '.join(closest_first(unknown[0], {*SCORE_NAMES, *given}))}."
        )


def closest_first(name: str, existing: Iterable[str]) -> list[str]:
    """The names that exist: first the three closest to this one, then the others in alphabetical order. Names from a
    chat are listed only if they look like plain names."""
    wanted = name.casefold()[:80]

    def likeness(other: str) -> float:
        return SequenceMatcher(None, wanted, other.casefold()).ratio()

    every = sorted(filter(_PLAIN_NAME.fullmatch, existing))
    closest = sorted(every, key=likeness, reverse=True)[:3]
    return [*closest, *(other for other in every if other not in closest)][:_MOST_SHOWN]
