"""Decides when the replay of a connection has ended. EVI marks no end, so the decision rests on what came, and when.

The rules, the first that applies counts; `docs/replay.md` gives the reasons and the limits.

1. If nothing of the conversation has come, the replay goes on: `chat_metadata` opens every connection.
2. If known events of the conversation have not come again, the replay goes on.
3. If the newest event is an error that ends a chat, the replay goes on: the service closes next, or the chat goes on.
4. Otherwise a quiet period ends the replay. It may be short if nothing was known and EVI's turn is complete.

Each rule has a time limit, for services that replay nothing and chats that are never quiet. Pure: times are arguments.
"""

import math
from dataclasses import dataclass

from evi_mcp.protocol.history import History
from evi_mcp.protocol.lifecycle import Lifecycle


@dataclass(frozen=True)
class ReplayPace:
    """The time limits of a replay, in seconds."""

    first_frame: float = 2.5
    """If no conversation was known, and nothing of one arrives for this long, there is nothing to replay."""
    quiet: float = 0.25
    """This quiet period ends a replay if nothing was known before and EVI's turn is complete."""
    long_quiet: float = 1.0
    """This quiet period ends any other replay."""
    lacking: float = 4.0
    """This quiet period ends a replay that has brought no known event of some type: the service leaves the type out."""
    speaks_on: float = 5.0
    """If a chat is never quiet, its replay ends this long after all known events have come again."""
    at_most: float = 20.0
    """Whatever is missing, the replay ends this long after the connection was made or a known event last came again."""
    replay: float = 4.5
    """A chat is `live` this long after its connection was made, even if still catching up: commands wait only 5 s."""
    after_error: float = 10.0
    """After a replayed error that ends a chat, the service has this long to close, or the chat to go on."""


class CatchingUp:
    """Finds the end of one connection's replay. All times come from one clock.

    Args:
        opened: When the connection was made.
    """

    def __init__(self, history: History, lifecycle: Lifecycle, pace: ReplayPace, opened: float) -> None:
        self._history, self._lifecycle, self._pace = history, lifecycle, pace
        self._opened = self._heard = self._progress = opened
        self._came_again = 0
        self._complete_since = math.inf

    def heard(self, now: float) -> None:
        """Bytes have arrived. Bytes count, not frames: a large frame may take longer than a quiet period to arrive."""
        self._heard = now

    def took_in(self, now: float) -> None:
        """A frame has arrived, and the history has taken it in."""
        self._heard = now
        came_again = self._history.replay.came_again
        if came_again > self._came_again:
            self._came_again, self._progress = came_again, now
        if not self._known_is_back:
            self._complete_since = math.inf
        elif self._complete_since == math.inf:
            self._complete_since = now

    @property
    def _known_is_back(self) -> bool:
        replay = self._history.replay
        return self._nothing_is_missing and not replay.lacks

    @property
    def _nothing_is_missing(self) -> bool:
        """Whether all known events of the types that this replay has shown so far have come again."""
        replay = self._history.replay
        return replay.knows_talk and replay.came_again > 0 and not replay.misses_known

    @property
    def ends_at(self) -> float:
        """When the replay ends if nothing more arrives."""
        pace = self._pace
        if self._lifecycle.may_have_ended:
            return self._heard + pace.after_error
        quiet_at = self._heard + self._quiet
        return min(quiet_at, self._complete_since + pace.speaks_on, self._progress + pace.at_most)

    @property
    def _quiet(self) -> float:
        """How long a quiet period must be to end the replay, in seconds."""
        pace, replay = self._pace, self._history.replay
        if self._known_is_back:
            return pace.long_quiet
        if replay.knows_talk:
            return pace.lacking if self._nothing_is_missing else math.inf
        if not replay.has_talk:
            return pace.first_frame
        return pace.quiet if replay.is_at_rest else pace.long_quiet

    @property
    def live_at(self) -> float:
        """When commands can go out, even if the replay is still running."""
        pace, replay = self._pace, self._history.replay
        ends_soon = self._nothing_is_missing and not self._known_is_back
        knows_little = not replay.has_talk or self._lifecycle.may_have_ended or ends_soon
        soon = math.inf if knows_little else self._heard + pace.long_quiet
        return min(soon, self._complete_since + pace.long_quiet, self._opened + pace.replay)
