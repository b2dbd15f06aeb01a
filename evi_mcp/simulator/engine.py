"""One simulated chat: what clients send goes in, the recording grows. No sockets, no clock, no awaiting.

The owner tells the time with every call, in seconds, and asks `next_due` when to come back. Facts: Hume's
reference of the chat and control-plane sockets and its guides. Where they are silent (which error a refused
`audio_input` gets, what a late tool answer does, who sees whose settings) the choice is this simulator's own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import UUID

import pydantic_core
from pydantic import ValidationError

from evi_mcp.protocol.commands import (
    AssistantInput,
    Command,
    PauseAssistantMessage,
    ResumeAssistantMessage,
    SessionSettings,
    ToolError,
    ToolResponse,
    UserInput,
    publish_adapter,
)
from evi_mcp.protocol.redaction import redact
from evi_mcp.simulator.caller import Caller
from evi_mcp.simulator.recording import Attachment, Recording, frame_of
from evi_mcp.simulator.responder import reply_to
from evi_mcp.simulator.scenario import Scenario
from evi_mcp.simulator.stage import Ending, Stage
from evi_mcp.simulator.track import Track
from evi_mcp.simulator.voice import Voice

NOT_JSON = ("E0100", "invalid_json")
NOT_A_MESSAGE = ("E0101", "invalid_message")
"""Codes as on Hume's page of errors; it could not be read which slugs belong to them."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How fast a chat goes, and how long it waits.

    `speed` scales what the script does. All else is real seconds: `tool_timeout_s` until EVI goes on without an answer,
    `inactivity_timeout_s` until a chat without a script ends because nobody said anything (`None`: never; Hume's
    default is 120), `max_duration_s` until any chat ends (Hume's limit is 1800).
    """

    speed: float = 1.0
    tool_timeout_s: float = 45.0
    inactivity_timeout_s: float | None = 120.0
    max_duration_s: float = 1800.0


@dataclass(frozen=True, slots=True)
class Opening:
    """What a chat is opened with; the last two are query parameters of `/v0/evi/chat`."""

    chat_id: str
    chat_group_id: str
    config_id: UUID | None = None
    scenario: Scenario | None = None
    """`None`: the primary types, and EVI answers by itself."""
    allow_connection: bool = False
    verbose_transcription: bool = False


class ChatEngine:
    """A chat from its opening to its end.

    Args:
        opening: Its ids, script and options.
        timing: Its pace and limits.
        chance: Seeded; makes every id and every variation of this chat.
        epoch_ms: Unix milliseconds at time 0.
        now: The time of the opening, in seconds.
    """

    def __init__(self, opening: Opening, timing: Timing, chance: Random, *, epoch_ms: int, now: float) -> None:
        self.opening = opening
        self._timing = timing
        self._stage = stage = Stage(chance, epoch_ms=epoch_ms, now=now, speed=timing.speed)
        self._voice = voice = Voice(stage, timing.tool_timeout_s)
        self._tracks: list[Track] = []
        self._settings = SessionSettings()
        self._context: dict[str, Any] | None = None
        self._typed = 0
        self.started_ms = stage.now_ms
        self.ended_ms: int | None = None
        self.on_change: Callable[[], None] | None = None
        """Called when the recording has grown or the chat has ended; the owner may set it."""
        self._told = 0
        if opening.scenario is not None:
            caller = Caller(stage, voice, opening.scenario, verbose_transcription=opening.verbose_transcription)
            self._tracks.append(Track(caller.play(), now))

    @property
    def recording(self) -> Recording:
        """All that has happened."""
        return self._stage.recording

    @property
    def ended(self) -> Ending | None:
        """How the chat ended; `None` while it is live."""
        return self._stage.ending

    @property
    def status(self) -> str:
        """As the REST API states it: `ACTIVE`, or that of its end."""
        return "ACTIVE" if self.ended is None else self.ended.status

    def attach(self, *, primary: bool = False) -> Attachment:
        """A new connection, which gets its own `chat_metadata`, the history, and then what happens."""
        greeting = frame_of(
            "chat_metadata",
            chat_id=self.opening.chat_id,
            chat_group_id=self.opening.chat_group_id,
            request_id=self._stage.new_request_id(),
        )
        return Attachment(self.recording, greeting, primary)

    def detach(self, attachment: Attachment, now: float) -> None:
        """A connection has gone. With the primary's the chat ends; any other leaves no trace."""
        self.advance(now)
        if attachment.primary:
            self._stage.end("USER_ENDED", "the user left")
            self._settle()

    def receive(self, frame: str | bytes, sender: Attachment, now: float) -> None:
        """A frame from a connection. What cannot be used is answered with an `error` to this connection alone."""
        self.advance(now)
        try:
            if isinstance(frame, bytes):
                raise ValueError("a binary frame")
            value = pydantic_core.from_json(frame, allow_inf_nan=False)
        except ValueError:
            sender.fault(*NOT_JSON, "The frame is not JSON text.")
            return
        if isinstance(value, dict) and value.get("type") == "audio_input":
            if not sender.primary:
                sender.fault(*NOT_A_MESSAGE, "audio_input is accepted on the chat's own connection only.")
            return  # there is nobody to listen: scripts and typed words make the user
        try:
            self.obey(value, sender, now)
        except ValidationError as error:
            sender.fault(*NOT_A_MESSAGE, f"The message cannot be used: {_summary(error)}.")

    def obey(self, value: Any, sender: Attachment | None, now: float) -> None:
        """A message from a client: the object in a frame, or the body of `/send` (then `sender` is `None`).

        Raises:
            ValidationError: It is none of the seven messages; nothing has happened.
        """
        command = publish_adapter.validate_python(value)
        self.advance(now)
        if self.ended is None:
            self._act(command, value, sender)
            self.advance(now)

    def advance(self, now: float) -> None:
        """Plays everything that is due, each thing at its own time."""
        while self.ended is None and (due := self.next_due()) is not None and due <= now:
            self._stage.now = max(self._stage.now, due)
            if self._expire():
                break
            track = min(self._all_tracks(), key=lambda track: _due(track, self._stage.now))
            track.step()
        self._stage.now = max(self._stage.now, now)
        self._settle()

    def next_due(self) -> float | None:
        """When `advance` has something to do, in seconds; `None` if the chat is over."""
        if self.ended is not None:
            return None
        return min(self._limit(), *(_due(track, self._stage.now) for track in self._all_tracks()))

    def _all_tracks(self) -> list[Track]:
        return [*self._tracks, self._voice.replying, self._voice.speaking_input]

    def _settle(self) -> None:
        ends_now = self.ended is not None and self.ended_ms is None
        if ends_now:
            self.ended_ms = self._stage.now_ms
        if ends_now or self._told < len(self.recording):
            self._told = len(self.recording)
            if self.on_change is not None:
                self.on_change()

    def _inactive_at(self) -> float:
        if self.opening.scenario is not None or self._timing.inactivity_timeout_s is None:
            return float("inf")
        return self._stage.user_heard_at + self._timing.inactivity_timeout_s

    def _limit(self) -> float:
        return min(self._stage.started + self._timing.max_duration_s, self._inactive_at())

    def _expire(self) -> bool:
        """Ends the chat if one of its limits is reached; the codes are those of Hume's TypeScript proxy."""
        if self._stage.now < self._limit():
            return False
        if self._stage.now >= self._inactive_at():
            reached = ("INACTIVITY_TIMEOUT", "E0714", "inactivity_timeout", "No user message arrived in time.")
        else:
            reached = ("MAX_DURATION_TIMEOUT", "E0715", "max_duration_timeout", "The chat reached its time limit.")
        self._stage.end_with_error(*reached)
        return True

    def _act(self, command: Command, value: Mapping[str, Any], sender: Attachment | None) -> None:
        match command:
            case UserInput(text=text):
                position = self._stage.position_ms
                self._stage.user_message(text, begin_ms=position, models={}, from_text=True)
                self._voice.reply(reply_to(text, self._settings, self._take_context(), self._typed))
                self._typed += 1
            case AssistantInput(text=text):
                self._voice.say(text)
            case ToolResponse() | ToolError():
                self._take_answer(command, value, sender)
            case SessionSettings():
                self._change_settings(command, value, sender)
            case PauseAssistantMessage():
                self._stage.note(command.type)
                self._voice.pause()
            case ResumeAssistantMessage():
                self._stage.note(command.type)
                self._voice.resume()

    def _take_answer(
        self, answer: ToolResponse | ToolError, value: Mapping[str, Any], sender: Attachment | None
    ) -> None:
        problem = self._voice.take_answer(answer)
        if problem is None:
            self._mirror(answer.type, value, sender)
            return
        self._stage.emit(
            "tool_error",
            tool_call_id=answer.tool_call_id,
            tool_type="function",
            level="warn",
            error=problem,
            code="not_waiting",
        )

    def _change_settings(self, settings: SessionSettings, value: Mapping[str, Any], sender: Attachment | None) -> None:
        """Fields that are left out keep their value, which Hume does not state but every example relies on."""
        changed = {name: getattr(settings, name) for name in settings.model_fields_set}
        self._settings = self._settings.model_copy(update=changed)
        if "context" in changed:
            self._context = None if settings.context is None else settings.context.model_dump()
        self._mirror(settings.type, redact(value), sender)

    def _take_context(self) -> str | None:
        """The context for this user message; a `temporary` one is gone after it."""
        context = self._context
        if context is None:
            return None
        if context["type"] == "temporary":
            self._context = None
        return str(context["text"])

    def _mirror(self, type_: str, value: Mapping[str, Any], sender: Attachment | None) -> None:
        """Shows a client's message to all others; its own socket does not get it back (issue 388 of the React SDK)."""
        fields = {name: item for name, item in value.items() if name != "type"}
        self._stage.emit(type_, sender=sender, **fields)


def _due(track: Track, now: float) -> float:
    due = track.due(now)
    return float("inf") if due is None else due


def _summary(error: ValidationError) -> str:
    """The first wrong fields, without their values: one of them may be a secret."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)[:3]
    return "; ".join(f"{'.'.join(map(str, problem['loc'][1:])) or 'message'}: {problem['msg']}" for problem in problems)
