"""Turns: what one side said until the other spoke or the turn was closed."""

from collections import deque
from dataclasses import dataclass, field

from evi_mcp.chat.events import Event

MAX_TURNS = 2000
MAX_TURN_TEXT = 64 * 1024
"""The longest text of one turn that is kept, in characters."""


@dataclass(slots=True, eq=False)
class Turn:
    """One side's turn; `begin_ms` is EVI's time of its first utterance, `at` when that reached us."""

    speaker: str
    at: float
    begin_ms: int | None
    from_text: bool
    texts: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    interrupted: bool = False
    closed: bool = False

    @property
    def text(self) -> str:
        """All that was said in it."""
        return " ".join(self.texts)

    @property
    def scores(self) -> dict[str, float]:
        """The mean of each score over the utterances that have any; empty if none has."""
        scored = [event.scores for event in self.events if event.scores]
        if len(scored) == 1:
            return scored[0]
        names = {name for scores in scored for name in scores}
        return {name: sum(scores.get(name, 0.0) for scores in scored) / len(scored) for name in names}


class Turns:
    """The last `MAX_TURNS` turns of a chat, oldest first."""

    def __init__(self) -> None:
        self._turns: deque[Turn] = deque(maxlen=MAX_TURNS)
        self._awaiting_prosody: dict[str, Event] = {}

    def __len__(self) -> int:
        return len(self._turns)

    def last(self, count: int) -> list[Turn]:
        """The newest `count` turns, oldest of them first."""
        return list(self._turns)[-count:] if count > 0 else []

    def see(self, event: Event) -> None:
        """Takes in an event of the chat."""
        match event.type:
            case "user_message" | "assistant_message" if not event.interim:
                self._spoke(event)
            case "assistant_prosody":
                # Joined by id, whenever it comes: the message's event gets the scores of its voice.
                message = self._awaiting_prosody.pop(event.message_id or "", None)
                if message is not None and not message.scores:
                    message.scores = event.scores
            case "assistant_end":
                if self._turns and self._turns[-1].speaker == "assistant":
                    self._turns[-1].closed = True
            case "user_interruption":
                if self._turns and self._turns[-1].speaker == "assistant":
                    self._turns[-1].interrupted = self._turns[-1].closed = True

    def _spoke(self, event: Event) -> None:
        turn = self._turns[-1] if self._turns else None
        speaker, from_text = event.speaker or "", bool(event.from_text)
        if turn is None or turn.closed or turn.speaker != speaker or turn.from_text != from_text:
            turn = Turn(speaker, event.at, event.begin_ms, from_text)
            self._turns.append(turn)
        turn.events.append(event)
        if sum(map(len, turn.texts)) < MAX_TURN_TEXT:
            turn.texts.append(event.text or "")
        if speaker == "assistant" and event.message_id and not event.scores:
            self._awaiting_prosody[event.message_id] = event
            if len(self._awaiting_prosody) > 100:
                del self._awaiting_prosody[next(iter(self._awaiting_prosody))]
