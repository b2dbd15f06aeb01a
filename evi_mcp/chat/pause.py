"""Whether this server has paused a chat, and the promise that goes with it: that EVI speaks again.

EVI has no event for a pause or a resume, so this is what we did, and nothing of what others did.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Pause:
    """The pause of one chat. Without one, all fields are as they are made.

    `resumes_at` is when it ends by itself, in seconds of `Clock.elapsed`, and `shown_resumes_at` the same in Unix
    seconds, for showing; `None` if it does not end by itself. `undelivered` says, in words, why a resume that was due
    has not got through; `None` if none is due, or none was tried.
    """

    paused: bool = False
    resumes_at: float | None = None
    shown_resumes_at: float | None = None
    undelivered: str | None = None

    @property
    def promised(self) -> bool:
        """Whether it is on us to end it."""
        return self.paused and self.resumes_at is not None

    def begin(self, resume_after_s: float, *, now: float, elapsed: float) -> None:
        """A pause is being written. It ends after so many seconds, or (0) not by itself."""
        self.end()
        self.paused = True
        if resume_after_s > 0:
            self.resumes_at, self.shown_resumes_at = elapsed + resume_after_s, now + resume_after_s

    def end(self) -> None:
        """EVI was told to go on."""
        self.paused, self.resumes_at, self.shown_resumes_at, self.undelivered = False, None, None, None

    def is_due(self, elapsed: float) -> bool:
        """Whether EVI has to be told to go on now."""
        return self.paused and self.resumes_at is not None and self.resumes_at <= elapsed
