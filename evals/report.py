"""The table of a run, and its details."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from evals.record import Record
from evals.scoring import Score

_HEADS = (
    "call", "points", "answered in time", "slowest", "wrong", "doubled", "last anger", "peak", "tokens in", "out",
    "turns", "agent ended by",
)  # fmt: skip


def table(played: Sequence[tuple[Record, Score]]) -> str:
    """The scores as a Markdown table whose columns stand below each other."""
    rows = [_HEADS, *(_row(record, score) for record, score in played)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join([*lines, "", f"{mean(played):.0f} points of 100 on average"])


def mean(played: Sequence[tuple[Record, Score]]) -> float:
    """The points of a run; at least one call was played."""
    return sum(score.points for _, score in played) / len(played)


def details(played: Sequence[tuple[Record, Score]]) -> list[dict[str, Any]]:
    """All that is known, for `--json`."""
    return [{**asdict(record), "score": asdict(score)} for record, score in played]


def _row(record: Record, score: Score) -> tuple[str, ...]:
    return (
        record.call,
        str(score.points),
        f"{score.in_time} of {score.asked}",
        "-" if score.slowest_s is None else f"{score.slowest_s:.1f} s",
        str(score.wrong),
        str(score.doubled),
        _number(score.last_anger),
        _number(score.peak_anger),
        _tokens(record.prompt_tokens),
        _tokens(record.completion_tokens),
        str(record.turns),
        record.ended + (", left paused" if score.left_paused else ""),
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _tokens(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,}"
