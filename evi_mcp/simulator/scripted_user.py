"""The user of a scripted call: speaks when EVI has finished, or over it, and goes on when EVI is paused."""

from collections.abc import Iterator, Mapping

from evi_mcp.simulator import expression
from evi_mcp.simulator.assistant import THINKING_S, Assistant
from evi_mcp.simulator.call_state import CallState
from evi_mcp.simulator.processes import Wait
from evi_mcp.simulator.scenario import HangUp, Inactivity, Say, Scenario, UserLeaves, UserLine

_WORD_S = 0.36
_PATIENCE_S = 6.0  # how long a user waits for an EVI that is paused before speaking again
_INTERIM_WORDS = 2  # a provisional transcript comes with every so many words


class ScriptedUser:
    """Plays the user's side of a scenario.

    Args:
        state: Shared with EVI.
        assistant: EVI: listened to, interrupted, and given each reply of the script.
        scenario: The script.
        verbose_transcription: Whether interim transcripts exist, as a chat's opening client chooses.
    """

    def __init__(
        self, state: CallState, assistant: Assistant, scenario: Scenario, *, verbose_transcription: bool
    ) -> None:
        self._state = state
        self._assistant = assistant
        self._scenario = scenario
        self._verbose = verbose_transcription

    def play(self) -> Iterator[Wait]:
        """The whole call."""
        if self._scenario.greeting is not None:
            self._assistant.reply((self._scenario.greeting,))
        for exchange in self._scenario.exchanges:
            if exchange.user.cuts_in_after_s is not None and not self._assistant.silent:
                yield self._state.after(THINKING_S + exchange.user.cuts_in_after_s)
                self._interrupt()
            else:
                yield from self._silence(exchange.user.after_s)
            yield from self._speak(exchange.user)
            self._assistant.reply(exchange.evi)
        yield from self._end()

    def _silence(self, seconds: float) -> Iterator[Wait]:
        """Waits until neither EVI has spoken for so long, nor anybody has typed."""
        while True:
            yield Wait(when=lambda: self._assistant.silent)
            heard = self._state.user_messages
            yield self._state.after(seconds + (_PATIENCE_S if self._assistant.paused else 0))
            if self._assistant.silent and self._state.user_messages == heard:
                return

    def _speak(self, user: UserLine) -> Iterator[Wait]:
        begin_ms = self._state.position_ms
        words = user.says.split()
        spoken = 0
        while len(words) - spoken > _INTERIM_WORDS:
            yield self._state.after(_WORD_S * _INTERIM_WORDS)
            spoken += _INTERIM_WORDS
            if self._verbose:
                # `models` is the prosody of the utterance; Hume excepts typed messages only, so here it is so far.
                self._say(" ".join(words[:spoken]), begin_ms, user, interim=True)
        yield self._state.after(_WORD_S * (len(words) - spoken))
        self._say(user.says, begin_ms, user, interim=False)

    def _say(self, text: str, begin_ms: int, user: UserLine, *, interim: bool) -> None:
        models = self._models(user.expression)
        self._state.user_message(text, begin_ms=begin_ms, models=models, from_text=False, interim=interim)

    def _interrupt(self) -> None:
        if self._assistant.interrupt():
            # Hume states Unix time and no unit; a test of its React SDK has seconds.
            self._state.emit("user_interruption", time=self._state.now_ms // 1000)

    def _models(self, peaks: Mapping[str, float]) -> dict[str, object]:
        return {"prosody": {"scores": expression.scores(peaks, self._state.chance)}}

    def _end(self) -> Iterator[Wait]:
        match self._scenario.ending:
            case UserLeaves(after_s=seconds):
                yield from self._silence(seconds)
                self._state.end("USER_ENDED", "the user left")
            case HangUp(after_s=seconds):
                yield from self._silence(seconds)
                yield Wait(when=lambda: not self._assistant.paused)  # paused, EVI uses no tool
                self._assistant.use_builtin("hang_up", {})
                self._state.end("USER_ENDED", "hang_up")
            case Inactivity() as ending:
                yield from self._fall_silent(ending)

    def _fall_silent(self, ending: Inactivity) -> Iterator[Wait]:
        while True:
            yield from self._silence(ending.after_s)
            heard = self._state.user_messages
            self._assistant.reply((Say(says=ending.says, expression=ending.expression),))
            yield Wait(when=lambda: self._assistant.silent)
            yield self._state.after(ending.grace_s)
            if self._state.user_messages == heard:
                break
        self._state.end_with_error(
            "INACTIVITY_TIMEOUT", "E0714", "inactivity_timeout", "No user message arrived in time."
        )
