"""Whole chats on bad lines, by the hundred: replays that are cut, damaged, lack types or keep the newest part only.

The chats are those of the chaos run, with ids that are used again and words without a time; here there are no sockets
and no clock, so that many can be tried. What cannot be known is written in `docs/replay.md`.
"""

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from functools import cache

import pytest

from evi_mcp.protocol.codec import decode
from evi_mcp.protocol.history import History
from evi_mcp.protocol.identity import Identity, identify
from tests.chaos.faults import LEFT_OUT
from tests.chaos.talk import Nature, Talk, nature_of

CHATS = 150
"""How many chats each test tries."""


@dataclass
class Followed:
    """A chat that was followed over some connections, and then replayed as a whole, twice."""

    happened: list[str]
    log: list[str] = field(default_factory=list)
    logged_again: int = 0

    @property
    def lost(self) -> int:
        return (Counter(self.happened) - Counter(self.log)).total()

    @property
    def doubled(self) -> int:
        return (Counter(self.log) - Counter(self.happened)).total()


@cache
def identity_of(frame: str) -> Identity:
    return identify(decode(frame))


def follow(seed: int, *, damage: bool, leave_out: bool, keep_newest: bool) -> Followed:
    """Follows one chat: each connection replays what has happened, brings more of it, and breaks."""
    rng, talk = random.Random(f"{seed}/connections"), Talk("c", seed)
    length = rng.randint(20, 200)
    while len(talk.history) < length:
        talk.go_on()
    chat, history = talk.history, History()
    seen, now, log = 0, rng.randint(1, len(chat) // 2), list[str]()
    always_left_out = frozenset(rng.sample(LEFT_OUT, 3)) if rng.random() < 0.4 else frozenset[str]()
    for connection in range(rng.randint(2, 9)):
        now = min(len(chat), now + rng.choice((0, 0, 3, 10)))
        ends = rng.randrange(now) if rng.random() < 0.25 else min(len(chat), now + rng.choice((0, 5, 20, 40)))
        left_out = always_left_out or (frozenset(rng.sample(LEFT_OUT, 2)) if rng.random() < 0.5 else frozenset())
        kept_from = int(rng.uniform(0.2, 0.8) * min(seen, now)) if rng.random() < 0.5 and seen > 30 else 0
        damaged = set(rng.sample(range(ends), min(ends, rng.randint(0, 2))))
        quiet = rng.random() < 0.3
        history.begin_replay()
        for place, frame in enumerate(chat[:ends]):
            if quiet and place == now:
                history.end_replay()
            if keep_newest and 0 < place < kept_from:
                continue
            if leave_out and place < now and json.loads(frame)["type"] in left_out:
                continue
            if damage and place in damaged:
                frame = f'{{"damaged": "{connection} {place}'
            if history.is_new(identity_of(frame)):
                log.append(frame)
        history.lose_connection()
        seen, now = max(seen, ends), max(now, ends)
    done = Followed(chat[:now], [frame for frame in log if not frame.startswith('{"damaged')])
    history.begin_replay()
    done.log += [frame for frame in done.happened if history.is_new(identity_of(frame))]
    history.begin_replay()
    done.logged_again = sum(history.is_new(identity_of(frame)) for frame in done.happened)
    return done


@pytest.mark.parametrize("nature", Nature)
def test_on_a_bad_line_nothing_is_lost_and_nothing_is_doubled(nature: Nature) -> None:
    """Our contract (section 4), with whatever of it can be known at once."""
    seeds = (seed for seed in range(10**6) if nature_of(seed, "c") is nature)
    for _, seed in zip(range(CHATS), seeds, strict=False):
        missing = nature is Nature.FRAMES_MISSING
        done = follow(seed, damage=missing, leave_out=missing, keep_newest=nature is Nature.NEWEST_PART)
        assert (seed, done.lost, done.doubled, done.logged_again) == (seed, 0, 0, 0)


def test_whatever_a_line_and_a_service_do_at_once_nothing_is_lost_and_few_events_are_doubled() -> None:
    """Then two readings are possible: an event may be logged twice, but not in each replay, and not a whole type."""
    done = [follow(seed, damage=True, leave_out=True, keep_newest=True) for seed in range(3 * CHATS)]
    assert sum(one.lost for one in done) == 0
    assert sum(one.logged_again for one in done) == 0
    events = sum(len(one.happened) for one in done)
    assert sum(one.doubled for one in done) < events / 1000
    assert max(one.doubled for one in done) <= 10
