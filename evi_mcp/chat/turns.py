"""Turns: what one side said until the other side spoke or the turn was closed."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from evi_mcp.chat.events import SCORE_BYTES, Event
from evi_mcp.chat.given import Giver
from evi_mcp.chat.memory import size_of
from evi_mcp.protocol.scores import Scores

MAX_TURNS = 2000
MAX_TURN_TEXT = 64 * 1024
"""The longest text of one turn that is kept, in characters."""
MAX_AWAITING_PROSODY = 100
"""The most messages that wait for their prosody, and the most prosody that waits for its message; the oldest goes
first."""
TURN_BYTES = 300
"""The bytes that a turn takes in addition to its text and scores, roughly."""
MAX_SCORE_NAMES = 200
"""The most names of scores that are remembered of one side; EVI has 48."""
MAX_UNSUMMED = 32
"""The most utterances of a turn whose scores are kept one by one, which shares them with the log; then they are summed
up."""


@dataclass(slots=True, eq=False)
class Turn:
    """One side's turn; `begin_ms` is EVI's time of its first utterance, `at` is when that utterance reached us.

    `number` counts the turns of the chat from 0; `changed_seq` is the `seq` of the event that last added to it;
    `replayed`: it came with the history.
    """

    number: int
    speaker: str
    at: float
    begin_ms: int | None
    from_text: bool
    giver: Giver | None = None
    """Who of this server gave it to be said; `None` if nobody did."""
    interrupted: bool = False
    closed: bool = False
    replayed: bool = False
    awaiting: int = 0
    """How many utterances may still get their expression."""
    changed_seq: int = 0
    text: str = ""
    """All that was said in it."""
    size: int = TURN_BYTES
    """The bytes that the turn counts."""
    _scored: int = 0
    _unsummed: tuple[Mapping[str, float], ...] = ()
    _sums: Mapping[str, float] | None = None  # of the utterances that are no longer in `_unsummed`

    @property
    def scores(self) -> dict[str, float]:
        """The mean of each score over the utterances that have any; empty if none has."""
        return {name: total / self._scored for name, total in self._totals().items()}

    @property
    def has_scores(self) -> bool:
        """Whether the turn has any expression; typed turns have none."""
        return self._scored > 0

    @property
    def has_voice(self) -> bool:
        """Whether the turn has any expression, or may still get some."""
        return self._scored > 0 or self.awaiting > 0

    def mean(self, score: str) -> float:
        """The mean of one score over the utterances; 0 if there is none."""
        total = sum(
            (scores.get(score, 0.0) for scores in self._unsummed), self._sums.get(score, 0.0) if self._sums else 0.0
        )
        return total / self._scored if self._scored else 0.0

    def say(self, text: str, seq: int) -> int:
        """Adds an utterance. Returns by how many bytes the turn has grown."""
        self.changed_seq = seq
        if len(self.text) >= MAX_TURN_TEXT:
            return 0
        self.text = f"{self.text} {text}" if self.text else text
        grown = size_of(text) + 1
        self.size += grown
        return grown

    def score(self, scores: Mapping[str, float], seq: int) -> None:
        """Adds the expression of an utterance."""
        self.changed_seq = seq
        self._scored += 1
        self._unsummed += (scores,)
        if len(self._unsummed) > MAX_UNSUMMED:
            self._sums, self._unsummed = Scores(self._totals()), ()

    def _totals(self) -> dict[str, float]:
        sums = dict(self._sums or {})
        for scores in self._unsummed:
            for name, score in scores.items():
                sums[name] = sums.get(name, 0.0) + score
        return sums


class Turns:
    """The last `MAX_TURNS` turns of a chat, oldest first, and the scores of EVI's messages.

    Args:
        on_size: Called with each change of the kept size, in bytes.
    """

    def __init__(self, on_size: Callable[[int], None] = lambda _: None) -> None:
        self._report_size = on_size
        self.size = 0
        """The size of the kept turns and scores, in bytes."""
        self._turns: deque[Turn] = deque()
        self._awaiting_prosody: dict[str, tuple[int, Turn]] = {}  # by message id: the message's number, and its turn
        self._early_prosody: dict[str, Mapping[str, float]] = {}  # by message id, if it came before its message
        self._late_scores: dict[int, Mapping[str, float]] = {}  # by the number of the message's event
        self._names: dict[str, dict[str, str]] = {}  # by speaker and by the name in lower case
        self._known: defaultdict[str, set[str]] = defaultdict(set)  # by speaker, the names as they came
        self._changed: Turn | None = None
        self._count = 0

    def __len__(self) -> int:
        return len(self._turns)

    def _on_size(self, size: int) -> None:
        self.size += size
        self._report_size(size)

    @property
    def count(self) -> int:
        """How many turns there have been, including those no longer kept."""
        return self._count

    def changed_by(self, seq: int) -> Turn | None:
        """The turn that this event, the newest of the chat, has added to; `None` if it has added to none."""
        return self._changed if self._changed is not None and self._changed.changed_seq == seq else None

    def voiced(self, speaker: str) -> Iterator[Turn]:
        """The turns of one side that have expression or may still get some, newest first."""
        return (turn for turn in reversed(self._turns) if turn.speaker == speaker and turn.has_voice)

    def score_name(self, speaker: str, score: str) -> str | None:
        """The spelling of a score's name that one side uses, ignoring case; `None` if it never had such a score."""
        return self._names.get(speaker, {}).get(score.strip().casefold())

    def names(self, speaker: str) -> list[str]:
        """The names of all scores that one side has had so far."""
        return list(self._names.get(speaker, {}).values())

    def first(self, speaker: str) -> Turn | None:
        """The oldest turn of this side that is kept, or `None`."""
        return next((turn for turn in self._turns if turn.speaker == speaker), None)

    def last(self, count: int) -> list[Turn]:
        """The newest `count` turns, oldest first."""
        return list(self._turns)[-count:] if count > 0 else []

    def scores_of(self, event: Event) -> Mapping[str, float] | None:
        """The expression of a message, from the message or from a later event; `None` if there is none yet."""
        return event.scores or self._late_scores.get(event.seq)

    def forget(self, event: Event) -> None:
        """Forgets the scores of an event that the log has dropped."""
        if (scores := self._late_scores.pop(event.seq, None)) is not None:
            self._on_size(-SCORE_BYTES * len(scores))

    def drop(self) -> bool:
        """Drops the oldest turn, but never the newest. Returns whether it dropped one."""
        if len(self._turns) < 2:
            return False
        self._on_size(-self._turns.popleft().size)
        return True

    def see(self, event: Event, giver: Giver | None = None) -> None:
        """Takes in an event of the chat; `giver` has given it to be said."""
        match event.type:
            case "user_message" | "assistant_message" if not event.interim:
                self._spoke(event, giver)
            case "assistant_prosody" | "user_prosody" if event.message_id:
                self._voice_came(event, event.message_id)
            case "assistant_end":
                if self._turns and self._turns[-1].speaker == "assistant":
                    self._turns[-1].closed = True
            case "user_interruption":
                if self._turns and self._turns[-1].speaker == "assistant":
                    self._turns[-1].interrupted = self._turns[-1].closed = True

    def _spoke(self, event: Event, giver: Giver | None) -> None:
        turn = self._turns[-1] if self._turns else None
        speaker, from_text = event.speaker or "", bool(event.from_text)
        same = turn is not None and (turn.speaker, turn.from_text, turn.giver) == (speaker, from_text, giver)
        if turn is None or turn.closed or not same:
            turn = Turn(self._count, speaker, event.at, event.begin_ms, from_text, giver, replayed=bool(event.replayed))
            self._turns.append(turn)
            self._on_size(turn.size)
            self._count += 1
            if len(self._turns) > MAX_TURNS:
                self.drop()
        self._changed = turn
        self._on_size(turn.say(event.text or "", event.seq))
        if event.scores:
            self._score(turn, event.scores, event.seq)
        elif event.message_id:
            if (early := self._early_prosody.pop(event.message_id, None)) is not None:
                self._join(event.seq, turn, early, event.seq)
            else:
                self._await_prosody(event.message_id, event.seq, turn)

    def _voice_came(self, event: Event, message_id: str) -> None:
        """Joins scores to their message by its id. The message may have come long before; on some services it comes
        later."""
        if not event.scores:
            return
        found = self._awaiting_prosody.pop(message_id, None)
        if found is None:
            self._early_prosody[message_id] = event.scores
            if len(self._early_prosody) > MAX_AWAITING_PROSODY:
                del self._early_prosody[next(iter(self._early_prosody))]
            return
        seq, turn = found
        turn.awaiting -= _is_sure(turn)
        self._join(seq, turn, event.scores, event.seq)
        self._changed = turn

    def _join(self, seq: int, turn: Turn, scores: Mapping[str, float], by: int) -> None:
        """Stores the scores of the message `seq`; `by` is the `seq` of the event that brought them."""
        self._score(turn, scores, by)
        self._late_scores[seq] = scores
        self._on_size(SCORE_BYTES * len(scores))

    def _score(self, turn: Turn, scores: Mapping[str, float], seq: int) -> None:
        turn.score(scores, seq)
        names = self._names.setdefault(turn.speaker, {})
        for name in scores.keys() - self._known[turn.speaker]:
            if len(names) < MAX_SCORE_NAMES:
                self._known[turn.speaker].add(name)
                names.setdefault(name.casefold(), name)

    def _await_prosody(self, message_id: str, seq: int, turn: Turn) -> None:
        if message_id in self._awaiting_prosody:
            return  # a second part of one message; its prosody is joined to the first
        self._awaiting_prosody[message_id] = seq, turn
        turn.awaiting += _is_sure(turn)
        if len(self._awaiting_prosody) > MAX_AWAITING_PROSODY:
            _, given_up = self._awaiting_prosody.pop(next(iter(self._awaiting_prosody)))
            given_up.awaiting -= _is_sure(given_up)


def _is_sure(turn: Turn) -> bool:
    """Whether scores that have not come are to be expected: EVI's own voice has them, a caller only if a bot gives
    some."""
    return turn.speaker == "assistant"
