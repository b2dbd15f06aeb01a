"""The user of a scripted call: speaks when EVI has finished, or over it, and goes on when EVI is paused."""

from collections.abc import Iterator, Mapping

from evi_mcp.simulator import expression
from evi_mcp.simulator.scenario import HangUp, Inactivity, Say, Scenario, User, UserLeaves
from evi_mcp.simulator.stage import Stage
from evi_mcp.simulator.track import Wait
from evi_mcp.simulator.voice import THINKING_S, Voice

_WORD_S = 0.36
_PATIENCE_S = 6.0  # how long a user waits for an EVI that is paused before speaking again
_INTERIM_WORDS = 2  # a provisional transcript comes with every so many words


class Caller:
    """Plays the user's side of a scenario.

    Args:
        stage: Shared with EVI's voice.
        voice: Listened to, interrupted, and given each reply of the script.
        scenario: The script.
        verbose_transcription: Whether interim transcripts exist, as a chat's opening client chooses.
    """

    def __init__(self, stage: Stage, voice: Voice, scenario: Scenario, *, verbose_transcription: bool) -> None:
        self._stage = stage
        self._voice = voice
        self._scenario = scenario
        self._verbose = verbose_transcription

    def play(self) -> Iterator[Wait]:
        """The whole call."""
        if self._scenario.greeting is not None:
            self._voice.reply((self._scenario.greeting,))
        for turn in self._scenario.turns:
            if turn.user.cuts_in_after_s is not None and not self._voice.silent:
                yield self._stage.after(THINKING_S + turn.user.cuts_in_after_s)
                self._interrupt()
            else:
                yield from self._silence(turn.user.after_s)
            yield from self._speak(turn.user)
            self._voice.reply(turn.evi)
        yield from self._end()

    def _silence(self, seconds: float) -> Iterator[Wait]:
        """Waits until neither EVI has spoken for so long, nor anybody has typed."""
        while True:
            yield Wait(when=lambda: self._voice.silent)
            heard = self._stage.user_messages
            yield self._stage.after(seconds + (_PATIENCE_S if self._voice.paused else 0))
            if self._voice.silent and self._stage.user_messages == heard:
                return

    def _speak(self, user: User) -> Iterator[Wait]:
        begin_ms = self._stage.position_ms
        words = user.says.split()
        spoken = 0
        while len(words) - spoken > _INTERIM_WORDS:
            yield self._stage.after(_WORD_S * _INTERIM_WORDS)
            spoken += _INTERIM_WORDS
            if self._verbose:
                # `models` is the prosody of the utterance; Hume excepts typed messages only, so here it is so far.
                self._say(" ".join(words[:spoken]), begin_ms, user, interim=True)
        yield self._stage.after(_WORD_S * (len(words) - spoken))
        self._say(user.says, begin_ms, user, interim=False)

    def _say(self, text: str, begin_ms: int, user: User, *, interim: bool) -> None:
        models = self._models(user.expression)
        self._stage.user_message(text, begin_ms=begin_ms, models=models, from_text=False, interim=interim)

    def _interrupt(self) -> None:
        if self._voice.interrupt():
            # Hume states Unix time and no unit; a test of its React SDK has seconds.
            self._stage.emit("user_interruption", time=self._stage.now_ms // 1000)

    def _models(self, peaks: Mapping[str, float]) -> dict[str, object]:
        return {"prosody": {"scores": expression.scores(peaks, self._stage.chance)}}

    def _end(self) -> Iterator[Wait]:
        match self._scenario.ending:
            case UserLeaves(after_s=seconds):
                yield from self._silence(seconds)
                self._stage.end("USER_ENDED", "the user left")
            case HangUp(after_s=seconds):
                yield from self._silence(seconds)
                yield Wait(when=lambda: not self._voice.paused)  # paused, EVI uses no tool
                self._voice.use_builtin("hang_up", {})
                self._stage.end("USER_ENDED", "hang_up")
            case Inactivity() as ending:
                yield from self._fall_silent(ending)

    def _fall_silent(self, ending: Inactivity) -> Iterator[Wait]:
        while True:
            yield from self._silence(ending.after_s)
            heard = self._stage.user_messages
            self._voice.reply((Say(says=ending.says, expression=ending.expression),))
            yield Wait(when=lambda: self._voice.silent)
            yield self._stage.after(ending.grace_s)
            if self._stage.user_messages == heard:
                break
        self._stage.end_with_error(
            "INACTIVITY_TIMEOUT", "E0714", "inactivity_timeout", "No user message arrived in time."
        )
