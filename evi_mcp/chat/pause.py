"""Whether this server has paused a chat, and when it has promised to resume it.

EVI has no event for a pause or a resume, so this knows only what we did, not what others did.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Pause:
    """The pause of one chat. While it is not paused, all fields have their defaults.

    `resumes_at` is the time of the auto-resume, in seconds of `Clock.elapsed`, and `shown_resumes_at` the same in Unix
    seconds, to show; `None` if there is no auto-resume. `undelivered` says in words why a due resume was not delivered;
    `None` if none is due, or none was tried.
    """

    paused: bool = False
    resumes_at: float | None = None
    shown_resumes_at: float | None = None
    undelivered: str | None = None

    @property
    def promised(self) -> bool:
        """Whether this server has to end the pause."""
        return self.paused and self.resumes_at is not None

    def begin(self, resume_after_s: float, *, now: float, elapsed: float) -> None:
        """Begins a pause, before its command is written. It ends after this many seconds; 0 means no auto-resume."""
        self.end()
        self.paused = True
        if resume_after_s > 0:
            self.resumes_at, self.shown_resumes_at = elapsed + resume_after_s, now + resume_after_s

    def end(self) -> None:
        """Ends the pause: EVI was told to go on."""
        self.paused, self.resumes_at, self.shown_resumes_at, self.undelivered = False, None, None, None

    def is_due(self, elapsed: float) -> bool:
        """Whether the auto-resume is due now."""
        return self.paused and self.resumes_at is not None and self.resumes_at <= elapsed
