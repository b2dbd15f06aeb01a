"""When the replay of a connection has ended: EVI marks no end of it, so it is worked out from what came, and when.

The evidence, in the order in which it counts; `docs/replay.md` gives the reasons and the limits.

1. Nothing of the conversation has come: `chat_metadata` opens every connection and says nothing of a history.
2. Something of the conversation was known, and what was known has not come again: the replay goes on.
3. The newest is an error that ends a chat: the service closes next, or the chat goes on.
4. Otherwise a quiet period ends the replay. It may be short where nothing was known and EVI's turn is complete.

Each has a time limit, for a service that replays nothing, or a chat that is never quiet. Pure: times are arguments.
"""

import math
from dataclasses import dataclass

from evi_mcp.protocol.history import History
from evi_mcp.protocol.lifecycle import Lifecycle


@dataclass(frozen=True)
class ReplayPace:
    """How long the parts of a replay may take, in seconds."""

    first_frame: float = 2.5
    """If nothing of a conversation was known, and nothing of one arrives for so long, there is none."""
    quiet: float = 0.25
    """A quiet period that ends a replay of which nothing was known, after a complete turn of EVI's."""
    long_quiet: float = 1.0
    """And one that ends any other."""
    lacking: float = 4.0
    """And one that ends a replay which lacks all the known events of a type: it leaves the type out."""
    speaks_on: float = 5.0
    """A chat that is never quiet: its replay has ended so long after all that was known has come again."""
    at_most: float = 20.0
    """Or so long after the connection was made, or a known event has come again, whatever is missing."""
    replay: float = 4.5
    """A chat is `live` so long after its connection was made, be it still catching up. A command waits for 5 s."""
    after_error: float = 10.0
    """If the replay ends with an error that ends a chat, the service has so long to close, or the chat to go on."""


class CatchingUp:
    """The end of one connection's replay. Times are those of one clock.

    Args:
        opened: When the connection was made.
    """

    def __init__(self, history: History, lifecycle: Lifecycle, pace: ReplayPace, opened: float) -> None:
        self._history, self._lifecycle, self._pace = history, lifecycle, pace
        self._opened = self._heard = self._progress = opened
        self._came_again = 0
        self._complete_since = math.inf

    def heard(self, now: float) -> None:
        """Bytes have arrived. They count, not frames: a large one on a slow line takes longer than a quiet period."""
        self._heard = now

    def took_in(self, now: float) -> None:
        """A frame has arrived, and the history knows it."""
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
        """Whether all that was known of the types that the replay has shown so far has come again."""
        replay = self._history.replay
        return replay.knows_talk and replay.came_again > 0 and not replay.misses_known

    @property
    def ends_at(self) -> float:
        """When the replay has ended, if nothing more arrives until then."""
        pace = self._pace
        if self._lifecycle.may_have_ended:
            return self._heard + pace.after_error
        quiet_at = self._heard + self._quiet
        return min(quiet_at, self._complete_since + pace.speaks_on, self._progress + pace.at_most)

    @property
    def _quiet(self) -> float:
        """How long a quiet period has to be to end the replay."""
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
        """When commands can go out, though the replay may still be running."""
        pace, replay = self._pace, self._history.replay
        ends_soon = self._nothing_is_missing and not self._known_is_back
        knows_little = not replay.has_talk or self._lifecycle.may_have_ended or ends_soon
        soon = math.inf if knows_little else self._heard + pace.long_quiet
        return min(soon, self._complete_since + pace.long_quiet, self._opened + pace.replay)
