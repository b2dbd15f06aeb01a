"""Which faults a connection meets, and when: data, drawn from a seed, so that a run can be repeated.

All of them are such as a chat outlives. What ends one (1000, a 4xx that does not heal, a policy close right after the
accept) is tested for itself, in `test_chaos.py`. A replay is delayed by less than the quiet period that is its end. All
keeps to what can be known (`docs/replay.md`): beyond that, no count would prove anything.
"""

import random
from enum import StrEnum
from typing import Any, NamedTuple

from tests.chaos.talk import Nature, nature_of


class Kind(StrEnum):
    """What can go wrong. The first group is the end of the connection, the second is not."""

    RST = "rst"
    FIN = "fin"  # the end of the stream, without a close frame
    SILENCE = "silence"  # a black hole: nothing comes or goes any more, and nobody says so
    CLOSE = "close"  # with the code `value`
    LINGER = "linger"  # closed with the code `value`, but for the socket, which stays
    POLICY = "policy close"  # with the code `value`, but not right after the accept
    NO_FRAME = "no frame"  # an opcode that means nothing

    DELAY = "delay"  # of `value` seconds
    SPLIT = "split"  # `value` frames in segments of a few bytes
    JOIN = "join"  # `value` frames in one segment
    CORRUPT = "corrupt"  # the payload of one text frame, in the way `value`
    BAD_BYTES = "bad bytes"  # one text frame, with bytes that are no UTF-8
    AS_BINARY = "as binary"  # one frame, as a binary one
    BYTE_ORDER_MARK = "byte order mark"  # before the payload of one
    BINARY = "binary"  # a binary frame amid the others
    HUGE = "huge"  # a frame of 20 MiB amid the others, where 16 are allowed
    STALL = "stall"  # nothing is read from the client for `value` seconds
    SLOW = "slow history"  # the history begins `value` seconds after `chat_metadata`
    LEAVE_OUT = "leave out"  # the history comes without the types `value`
    KEEP_TAIL = "keep tail"  # it begins behind `value` of what the client has had
    REFUSE = "refuse"  # the handshake, with the status `value`; 0 hangs up without an answer


FINAL = (Kind.RST, Kind.FIN, Kind.SILENCE, Kind.CLOSE, Kind.LINGER, Kind.POLICY, Kind.NO_FRAME)
PASSING = (
    *(Kind.DELAY, Kind.SPLIT, Kind.JOIN, Kind.CORRUPT, Kind.BINARY, Kind.STALL),
    *(Kind.BAD_BYTES, Kind.AS_BINARY, Kind.BYTE_ORDER_MARK),
)
HEALING_STATUS = (0, 408, 425, 429, 500, 502, 503, 504)
PASSING_CODES = (1001, 1009, 1011, 1012, 1013, 3000)
REFUSING_CODES = (1002, 1003, 1007, 1008, 4000, 4999)
"""A chat outlives two in a row, if they do not follow the accept at once."""
LEFT_OUT = (
    "user_message",
    "assistant_prosody",
    "audio_output",
    "assistant_end",
    "user_interruption",
    "tool_call",
    "tool_response",
    "session_settings",
    "error",
    "something_new",
)
"""Types that a replay may lack: those of a chat the same ones each time, or each other ones. What the assistant said is
always there: a replay of nothing that was known before cannot be told from a chat that goes on."""
CHANGES = frozenset({Kind.CORRUPT, Kind.BAD_BYTES, Kind.AS_BINARY, Kind.BYTE_ORDER_MARK})
"""What may keep the client from reading a frame."""
DAMAGE = ("cut short", "no JSON", "a number for a type", "a list")


class Fault(NamedTuple):
    """One fault; `at` is the number of the text frame of the connection before which it strikes, from 0."""

    kind: Kind
    at: int
    value: Any = None


class Schedule:
    """The faults of every connection of every chat.

    `calm` ends them, but for the types that the replays of a chat lack: these come back when it is `whole`, too.
    """

    def __init__(self, seed: object, *, kinds: frozenset[Kind] = frozenset(Kind)) -> None:
        self._seed, self._kinds = seed, kinds
        self.calm = self.whole = False

    def refusal(self, chat_id: str, connection: int) -> int | None:
        """The status to refuse the n-th connection of the chat with; `None` lets it through."""
        rng = random.Random(f"{self._seed}/{chat_id}/{connection}/handshake")
        refused = rng.random() < 0.2 and not self.calm and Kind.REFUSE in self._kinds
        return rng.choice(HEALING_STATUS) if refused else None

    def faults(self, chat_id: str, connection: int, history: int) -> list[Fault]:
        """What the n-th connection of the chat meets, in the order in which it strikes.

        Args:
            history: How many frames are replayed on it.
        """
        found = [] if self.whole else self._of_history(chat_id, connection)
        if not self.calm:
            rng = random.Random(f"{self._seed}/{chat_id}/{connection}/faults")
            found += [_passing(rng, rng.choice(PASSING), history) for _ in range(rng.randint(0, 3))]
            if rng.random() < 0.03:
                found.append(Fault(Kind.HUGE, rng.randrange(history + 20)))
            at = rng.randrange(max(1, history)) if rng.random() < 0.25 else history + rng.randrange(40)
            # Never three in a row: the third refusal is an answer.
            found.append(_policy(rng, history) if connection % 3 == 0 and rng.random() < 0.5 else _final(rng, at))
            found.sort(key=lambda fault: fault.at)
        kinds = self._kinds - (CHANGES if nature_of(self._seed, chat_id) is not Nature.FRAMES_MISSING else set())
        return [fault for fault in found if fault.kind in kinds]

    def _of_history(self, chat_id: str, connection: int) -> list[Fault]:
        """What the replay of this connection lacks, and how late it is."""
        found: list[Fault] = []
        rng = random.Random(f"{self._seed}/{chat_id}/{connection}/history")
        if rng.random() < 0.3 and not self.calm:
            found.append(Fault(Kind.SLOW, 1, rng.uniform(0.3, 2.0)))
        match nature_of(self._seed, chat_id):
            case Nature.FRAMES_MISSING:
                of_chat = random.Random(f"{self._seed}/{chat_id}/left out")
                same_each_time = of_chat.random() < 0.5
                if same_each_time or (rng.random() < 0.5 and not self.calm):
                    found.append(_leave_out(of_chat if same_each_time else rng))
            case Nature.NEWEST_PART if rng.random() < 0.5 and not self.calm:
                found.append(Fault(Kind.KEEP_TAIL, 1, rng.uniform(0.2, 0.8)))
        return found


def _leave_out(rng: random.Random) -> Fault:
    return Fault(Kind.LEAVE_OUT, 0, frozenset(rng.sample(LEFT_OUT, rng.randint(1, 4))))


def _final(rng: random.Random, at: int) -> Fault:
    [kind] = rng.choices((Kind.RST, Kind.FIN, Kind.SILENCE, Kind.CLOSE, Kind.LINGER, Kind.NO_FRAME), (6, 4, 1, 6, 1, 2))
    return Fault(kind, at, rng.choice(PASSING_CODES) if kind in (Kind.CLOSE, Kind.LINGER) else None)


def _policy(rng: random.Random, history: int) -> Fault:
    return Fault(Kind.POLICY, history + rng.randrange(20), rng.choice(REFUSING_CODES))


def _passing(rng: random.Random, kind: Kind, history: int) -> Fault:
    at = rng.randrange(history + 20)
    match kind:
        case Kind.DELAY:
            return Fault(kind, at, rng.uniform(0.01, 0.1 if at <= history else 1.0))
        case Kind.SPLIT | Kind.JOIN:
            return Fault(kind, at, rng.randint(2, 20))
        case Kind.CORRUPT:
            return Fault(kind, at, rng.choice(DAMAGE))
        case Kind.STALL:
            return Fault(kind, at, rng.uniform(0.1, 2.0))
    return Fault(kind, at)
