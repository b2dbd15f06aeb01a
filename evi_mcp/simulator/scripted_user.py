"""The user of a scripted call: speaks when EVI has finished, or over it, and goes on when EVI is paused."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from evi_mcp.simulator import expression
from evi_mcp.simulator.assistant import Assistant
from evi_mcp.simulator.call_state import CallState
from evi_mcp.simulator.mood import Mood
from evi_mcp.simulator.processes import Wait
from evi_mcp.simulator.responder import remark_on
from evi_mcp.simulator.scenario import HangUp, Inactivity, Reply, Say, Scenario, UserLeaves, UserLine
from evi_mcp.simulator.whispers import Whispers

_WORD_S = 0.36
_PATIENCE_S = 6.0  # how long a user waits for an EVI that is paused before speaking again
_INTERIM_WORDS = 2  # a provisional transcript comes with every so many words


class ScriptedUser:
    """Plays the user's side of a scenario.

    Args:
        state: Shared with EVI.
        assistant: EVI: listened to, interrupted, and given each reply of the script.
        scenario: The script.
        mood: The user's.
        take_context: Gives the context that EVI has for its next reply, and uses it up if it is temporary.
        verbose_transcription: Whether interim transcripts exist, as a chat's opening client chooses.
    """

    def __init__(
        self,
        state: CallState,
        assistant: Assistant,
        scenario: Scenario,
        mood: Mood,
        take_context: Callable[[], str | None],
        *,
        verbose_transcription: bool,
    ) -> None:
        self._state = state
        self._assistant = assistant
        self._scenario = scenario
        self._rest = deque(scenario.exchanges)
        self._begun = 0
        self._whispers = Whispers(scenario.whispers)
        self._mood = mood
        self._take_context = take_context
        self._verbose = verbose_transcription

    def play(self) -> Iterator[Wait]:
        """The whole call."""
        greeting = self._scenario.greeting
        if greeting is not None:
            self._assistant.reply(lambda: (greeting,))
        while True:
            yield Wait(when=lambda: self._assistant.decided)  # which may change what comes next
            if not self._rest:
                break
            yield from self._until_turn(self._rest[0].user)
            if self._rest:
                exchange = self._rest.popleft()
                self._begun += 1
                yield from self._speak(exchange.user)
                self._assistant.reply(partial(self._reply, exchange.evi))
        yield from self._end()

    def whispered(self, context: str | None) -> Reply | None:
        """EVI's reply if it knows what to make of this context, or of an earlier one; `None` if not."""
        self._whispers.hear(context)
        return self._act_on_whisper()

    def _act_on_whisper(self) -> Reply | None:
        whisper = self._whispers.take(self._begun)
        if whisper is None:
            return None
        self._mood.change(whisper.temper)
        if whisper.then is not None:
            self._rest = deque(whisper.then)
        return whisper.evi

    def _reply(self, scripted: Reply) -> Reply:
        context = self._take_context()
        is_news = self._whispers.hear(context)
        reply = self._act_on_whisper() or scripted
        return (Say(says=(remark_on(context),)), *reply) if is_news and context else reply

    def _until_turn(self, user: UserLine) -> Iterator[Wait]:
        """Waits until the user says this, and silences EVI if the user does not wait for it."""
        if user.cuts_in_after_s is not None and not self._assistant.silent:
            yield self._state.after(user.cuts_in_after_s)
            self._interrupt()
        else:
            yield from self._silence(user.after_s)

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
        self._mood.waited(self._state.stop_waiting())
        says, peaks = self._mood.words(user, self._state.chance.random()), self._mood.shown(user.expression)
        words = says.split()
        spoken = 0
        while len(words) - spoken > _INTERIM_WORDS:
            yield self._state.after(_WORD_S * _INTERIM_WORDS)
            spoken += _INTERIM_WORDS
            if self._verbose:
                # `models` is the prosody of the utterance; Hume excepts typed messages only, so here it is so far.
                self._say(" ".join(words[:spoken]), begin_ms, peaks, interim=True)
        yield self._state.after(_WORD_S * (len(words) - spoken))
        self._say(says, begin_ms, peaks, interim=False)
        self._state.wait_for_voice()

    def _say(self, text: str, begin_ms: int, peaks: Mapping[str, float], *, interim: bool) -> None:
        models = self._models(peaks)
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
            self._assistant.reply(lambda: (Say(says=ending.says, expression=ending.expression),))
            yield Wait(when=lambda: self._assistant.silent)
            yield self._state.after(ending.grace_s)
            if self._state.user_messages == heard:
                break
        self._state.end_with_error(
            "INACTIVITY_TIMEOUT", "E0714", "inactivity_timeout", "No user message arrived in time."
        )
