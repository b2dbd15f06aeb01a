"""When the user spoke: transcripts come late, and now and then before the news that somebody speaks."""

SAME_MS = 250
"""A beginning that is told so soon after a final transcript is that of the transcript."""


class Speech:
    """The time of one utterance after the other, in EVI's milliseconds."""

    def __init__(self) -> None:
        self._begin: int | None = None
        self._end: int | None = None
        self._told = -SAME_MS

    def begin(self, now: int) -> None:
        """The user begins, or is told of again."""
        if now - self._told < SAME_MS:
            return
        if self._begin is None or self._end is not None:
            self._begin, self._end = now, None

    def end(self, now: int) -> None:
        """The user is silent."""
        if self._begin is not None and self._end is None:
            self._end = now

    def interval(self, now: int, *, is_final: bool) -> tuple[int, int]:
        """Where a transcript that comes now lies. Each final one ends later than the one before."""
        end = max(self._end if self._end is not None else now, self._told + 1)
        begin = min(self._begin if self._begin is not None else now, end)
        if is_final:
            self._begin = self._end = None
            self._told = end
        return begin, end
