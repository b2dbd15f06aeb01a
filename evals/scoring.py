"""Scores of a call, from its record alone. docs/evals.md explains the points."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evals.record import Action, Record

IN_TIME_S = 10.0
"""A caller waits so long for a tool before it shows (the simulator's `tool_patience_s`)."""
CONTENT, ANGRY = 0.2, 0.8
"""Anger up to which the caller is content, and from which nothing was won."""

_SPOKEN = {"send_user_input": "text", "send_assistant_input": "text", "barge_in": "text"}
_GUARD = "unless_user_spoke_after"


@dataclass(frozen=True)
class Score:
    """How well a call was supervised.

    `slowest_s` is `None` if nothing was answered, `last_anger` and `peak_anger` if the caller was never measured.
    `points` are 0 to 100.
    """

    asked: int
    in_time: int
    late: int
    slowest_s: float | None
    wrong: int
    doubled: int
    left_paused: bool
    last_anger: float | None
    peak_anger: float | None
    points: int


def score(record: Record) -> Score:
    """The scores of one call."""
    waits = [asked.answered_s for asked in record.asked if asked.answered_s is not None]
    in_time = sum(wait <= IN_TIME_S for wait in waits)
    doubled = {id(action) for action in _doubled(record.actions)}
    wrong = sum(_is_wrong(action) and id(action) not in doubled for action in record.actions)
    left_paused = _is_paused(record.actions)
    last = record.angers[-1] if record.angers else None
    late = len(waits) - in_time
    return Score(
        asked=len(record.asked),
        in_time=in_time,
        late=late,
        slowest_s=max(waits, default=None),
        wrong=wrong,
        doubled=len(doubled),
        left_paused=left_paused,
        last_anger=last,
        peak_anger=max(record.angers, default=None),
        points=round(
            40 * ((in_time + late / 2) / len(record.asked) if record.asked else 1)
            + 40 * _contentment(last)
            + max(0, 20 - 5 * (wrong + len(doubled)) - 10 * left_paused)
        ),
    )


def _contentment(anger: float | None) -> float:
    """1 for a caller who is content, 0 for one who is angry, or was never heard."""
    return 0.0 if anger is None else min(1.0, max(0.0, (ANGRY - anger) / (ANGRY - CONTENT)))


def _is_wrong(action: Action) -> bool:
    """A call that did nothing; one that its own guard held back did what it was to do."""
    return action.outcome != "done" and not (action.outcome == "refused" and action.arguments.get(_GUARD))


def _doubled(actions: list[Action]) -> Iterator[Action]:
    """Actions that were taken before: an answer to the same tool call, the same words, a pause in a pause."""
    seen: set[str] = set()
    paused = False
    for action in actions:
        key = _identity(action)
        if (action.tool == "pause" and paused) or (key is not None and key in seen):
            yield action
        if action.outcome == "done":
            seen |= {key} if key is not None else set()
            paused = _paused_after(action, paused)


def _is_paused(actions: list[Action]) -> bool:
    paused = False
    for action in actions:
        if action.outcome == "done":
            paused = _paused_after(action, paused)
    return paused


def _paused_after(action: Action, paused: bool) -> bool:
    if action.tool == "barge_in":
        return action.arguments.get("resume_when_spoken") is False
    return {"pause": True, "resume": False}.get(action.tool, paused)


def _identity(action: Action) -> str | None:
    """What must not be done twice, as text; `None` for what may be."""
    arguments = action.arguments
    if action.tool == "answer_tool_call":
        return f"answer {arguments.get('tool_call_id')}"
    if action.tool in _SPOKEN:
        return f"{action.tool} {_plain(arguments.get(_SPOKEN[action.tool]))}"
    if action.tool in ("whisper", "update_session_settings"):
        said: Mapping[str, Any] = {name: value for name, value in arguments.items() if name != "chat_id"}
        return f"settings {_plain(said)}"
    return None


def _plain(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return " ".join(text.casefold().split())
