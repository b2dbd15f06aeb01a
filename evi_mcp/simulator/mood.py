"""How the user of a simulated call feels about the way the call is handled. The script says how it begins."""

from collections.abc import Mapping

from evi_mcp.simulator.scenario import ANGRY, CALM, Temper, UserLine

_WEARS_OFF = 0.5
"""What each further line of a supervisor counts, of the one before: nobody is talked calm by repetition."""


class Mood:
    """The temper of the user: moved by silence and by supervisors, shown in words and in the voice.

    Args:
        temper: The rules of the script.
    """

    def __init__(self, temper: Temper) -> None:
        self.temper = 0.0
        self._rules = temper
        self._lines_count = 1.0
        self._kept_waiting = False

    def change(self, by: float) -> None:
        """Moves the temper, which stays between -1 (calm) and 1 (angry)."""
        self.temper = max(-1.0, min(1.0, self.temper + by))

    def waited(self, seconds: float) -> None:
        """The user waited so long for a voice."""
        self._silence(seconds - self._rules.patience_s)

    def waited_for_tool(self, seconds: float, *, answered: bool) -> None:
        """EVI waited so long for a function, and the user for EVI."""
        self._silence(seconds - self._rules.tool_patience_s)
        if not answered:
            self.change(self._rules.tool_unanswered)

    def supervisor_spoke(self, *, paused: bool, over_evi: bool) -> None:
        """A supervisor's line is being spoken.

        Args:
            paused: Whether EVI was paused for it.
            over_evi: Whether EVI speaks at the same time.
        """
        if over_evi:
            self.change(self._rules.line_over_evi)
            return
        self.change(self._lines_count * (self._rules.barge_in if paused else self._rules.line_into_silence))
        self._lines_count *= _WEARS_OFF

    def shown(self, peaks: Mapping[str, float]) -> Mapping[str, float]:
        """The scores of the script as this temper changes them."""
        changed = dict(peaks)
        for name, weight in self._rules.shows.items():
            towards = self.temper * weight
            if towards > 0:
                changed[name] = (score := peaks.get(name, 0.0)) + (1 - score) * towards
            elif name in peaks:
                changed[name] = peaks[name] * (1 + towards)
        return changed

    def words(self, line: UserLine, pick: float) -> str:
        """What the user says in place of the line; words about a silence come once for each.

        Args:
            line: The script's.
            pick: A random number from 0 up to 1, for a choice of words.
        """
        said = line.says
        if self.temper >= ANGRY:
            said = line.when_angry or said
        elif self.temper <= CALM:
            said = line.when_calm or said
        if not self._kept_waiting:
            return said
        self._kept_waiting = False
        return f"{self._rules.impatient[int(pick * len(self._rules.impatient))]} {said}"

    def _silence(self, too_long_s: float) -> None:
        if too_long_s > 0:
            self._kept_waiting = True
            self.change(too_long_s * self._rules.per_second_of_silence)
