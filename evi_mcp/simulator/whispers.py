"""What EVI makes of a supervisor's context in a scripted call: a whisper that the script knows, or a remark."""

import re
from collections.abc import Sequence

from evi_mcp.simulator.scenario import Whisper

_CLAUSE_ENDS = re.compile(r"[.,;:!?\n]+|\b(?:and|but)\b")
_APOSTROPHES = str.maketrans({"’": "'"})


class Whispers:
    """The whispers of a script, each used once.

    Args:
        rules: The script's. Of several that a context is, the first counts.
    """

    def __init__(self, rules: Sequence[Whisper]) -> None:
        self._rules = list(rules)
        self._heard: list[Whisper] = []
        self._latest: str | None = None

    def hear(self, context: str | None) -> bool:
        """EVI is told a context. Returns whether it says so: if it is no whisper of the script, and new."""
        if context is None or context == self._latest:
            return False
        self._latest = context
        found = [rule for rule in self._rules if is_whisper(context, rule)]
        self._heard += [rule for rule in found[:1] if rule not in self._heard]
        return not found

    def take(self, exchange: int) -> Whisper | None:
        """The whisper that EVI acts on in this exchange (1 is the first); `None` if there is none."""
        for rule in self._heard:
            if exchange >= rule.from_exchange:
                self._heard.remove(rule)
                self._rules.remove(rule)
                return rule
        return None


def is_whisper(context: str, rule: Whisper) -> bool:
    """Whether a context says what the rule waits for."""
    clauses = _CLAUSE_ENDS.split(context.translate(_APOSTROPHES).casefold())
    return any(_has(clause, rule.mentions) and not _has(clause, rule.but_not) for clause in clauses)


def _has(clause: str, words: Sequence[str]) -> bool:
    return any(re.search(_pattern(word), clause) for word in words)


def _pattern(word: str) -> str:
    stem = word.casefold()
    return rf"\b{re.escape(stem[:-1])}" if stem.endswith("*") else rf"\b{re.escape(stem)}\b"
