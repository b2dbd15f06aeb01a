"""One simulated call: commands go in, messages come out. No sockets, no clock, no awaiting.

The owner tells the time with every call, in seconds, and asks `next_due` when to come back. Facts: Hume's reference
of the chat and control-plane sockets and its guides. Where they are silent (what a late tool answer does) the choice
is this simulator's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from evi_mcp.protocol.commands import (
    AssistantInput,
    PauseAssistantMessage,
    ResumeAssistantMessage,
    SessionSettings,
    ToolError,
    ToolResponse,
    UserInput,
    publish_adapter,
)
from evi_mcp.simulator.assistant import Assistant
from evi_mcp.simulator.call_state import CallEnding, CallState, Publish
from evi_mcp.simulator.mood import Mood
from evi_mcp.simulator.processes import Process
from evi_mcp.simulator.responder import reply_to
from evi_mcp.simulator.scenario import Reply, Scenario, Temper
from evi_mcp.simulator.scripted_user import ScriptedUser


@dataclass(frozen=True, slots=True)
class Timing:
    """How fast a call goes, and how long it waits.

    `speed` scales what the script does. All else is real seconds: `tool_timeout_s` until EVI goes on without an answer,
    `inactivity_timeout_s` until a call without a script ends because nobody said anything (`None`: never; Hume's
    default is 120), `max_duration_s` until any call ends (Hume's limit is 1800).
    """

    speed: float = 1.0
    tool_timeout_s: float = 45.0
    inactivity_timeout_s: float | None = 120.0
    max_duration_s: float = 1800.0


class ScriptedCall:
    """A call from its beginning to its end.

    Args:
        scenario: The script; `None`: somebody types, and EVI answers by itself.
        timing: Its pace and limits.
        chance: Seeded; makes every id and every variation of this call.
        publish: Takes what happens.
        epoch_ms: Unix milliseconds at time 0.
        now: The time of the beginning, in seconds.
        verbose_transcription: Whether a script has interim transcripts.
    """

    def __init__(
        self,
        scenario: Scenario | None,
        timing: Timing,
        chance: Random,
        publish: Publish,
        *,
        epoch_ms: int,
        now: float,
        verbose_transcription: bool = True,
    ) -> None:
        self._scenario = scenario
        self._timing = timing
        self._state = state = CallState(publish, chance, epoch_ms=epoch_ms, now=now, speed=timing.speed)
        mood = Mood(Temper() if scenario is None else scenario.temper)
        self._assistant = assistant = Assistant(state, mood, timing.tool_timeout_s)
        self._user: ScriptedUser | None = None
        self._processes: list[Process] = []
        self._settings = SessionSettings()
        self._context: dict[str, Any] | None = None
        self._typed = 0
        if scenario is not None:
            self._user = ScriptedUser(
                state, assistant, scenario, mood, self._take_context, verbose_transcription=verbose_transcription
            )
            self._processes.append(Process(self._user.play(), now))

    @property
    def ending(self) -> CallEnding | None:
        """How the call ended; `None` while it goes on."""
        return self._state.ending

    @property
    def now_ms(self) -> int:
        """Up to when it was played, in Unix milliseconds."""
        return self._state.now_ms

    def take(self, message: Mapping[str, Any], now: float) -> bool:
        """A supervisor's command. What follows from it comes with the next `advance`.

        Returns:
            Whether it had an effect. If not, everybody was told by a `tool_error`.

        Raises:
            ValidationError: It is none of EVI's commands; nothing has happened.
        """
        command = publish_adapter.validate_python(message)
        self.advance(now)
        if self.ending is not None:
            return False
        match command:
            case UserInput(text=text):
                position = self._state.position_ms
                self._state.user_message(text, begin_ms=position, models={}, from_text=True)
                self._assistant.reply(partial(self._reply_to, text, self._typed))
                self._typed += 1
            case AssistantInput(text=text):
                self._assistant.say(text)
            case ToolResponse() | ToolError():
                return self._take_answer(command)
            case SessionSettings():
                self._change_settings(command)
            case PauseAssistantMessage():
                self._assistant.pause()
            case ResumeAssistantMessage():
                self._assistant.resume()
        return True

    def leave(self, now: float) -> None:
        """The user hangs up."""
        self.advance(now)
        self._state.end("USER_ENDED", "the user left")

    def advance(self, now: float) -> None:
        """Plays everything that is due, each thing at its own time."""
        while self.ending is None and (due := self.next_due()) is not None and due <= now:
            self._state.now = max(self._state.now, due)
            if self._expire():
                break
            min(self._all_processes(), key=lambda process: _due(process, self._state.now)).step()
        self._state.now = max(self._state.now, now)

    def next_due(self) -> float | None:
        """When `advance` has something to do, in seconds; `None` if the call is over."""
        if self.ending is not None:
            return None
        return min(self._limit(), *(_due(process, self._state.now) for process in self._all_processes()))

    def _all_processes(self) -> list[Process]:
        return [*self._processes, self._assistant.replying, self._assistant.speaking_input]

    def _inactive_at(self) -> float:
        if self._scenario is not None or self._timing.inactivity_timeout_s is None:
            return float("inf")
        return self._state.user_heard_at + self._timing.inactivity_timeout_s

    def _limit(self) -> float:
        return min(self._state.started + self._timing.max_duration_s, self._inactive_at())

    def _expire(self) -> bool:
        """Ends the call if one of its limits is reached; the codes are those of Hume's TypeScript proxy."""
        if self._state.now < self._limit():
            return False
        if self._state.now >= self._inactive_at():
            reached = ("INACTIVITY_TIMEOUT", "E0714", "inactivity_timeout", "No user message arrived in time.")
        else:
            reached = ("MAX_DURATION_TIMEOUT", "E0715", "max_duration_timeout", "The chat reached its time limit.")
        self._state.end_with_error(*reached)
        return True

    def _reply_to(self, text: str, turn: int) -> Reply:
        """EVI's reply to typed words, with what it knows when its turn has come."""
        context = self._take_context()
        whispered = self._user.whispered(context) if self._user is not None else None
        return whispered or reply_to(text, self._settings, context, turn)

    def _take_answer(self, answer: ToolResponse | ToolError) -> bool:
        problem = self._assistant.take_answer(answer)
        if problem is not None:
            self._state.emit(
                "tool_error",
                tool_call_id=answer.tool_call_id,
                tool_type="function",
                level="warn",
                error=problem,
                code="not_waiting",
            )
        return problem is None

    def _change_settings(self, settings: SessionSettings) -> None:
        """Fields that are left out keep their value, which Hume does not state but every example relies on."""
        changed = {name: getattr(settings, name) for name in settings.model_fields_set}
        self._settings = self._settings.model_copy(update=changed)
        if "context" in changed:
            self._context = None if settings.context is None else settings.context.model_dump()

    def _take_context(self) -> str | None:
        """The context for this reply; a `temporary` one is gone after it."""
        context = self._context
        if context is None:
            return None
        if context["type"] == "temporary":
            self._context = None
        return str(context["text"])


def _due(process: Process, now: float) -> float:
    due = process.due(now)
    return float("inf") if due is None else due
