"""A supervisor's commands, carried out in a LiveKit session."""

import inspect
from collections.abc import Callable
from typing import Any

from livekit.agents import llm

from evi_mcp.link.chat_link import ChatLink
from evi_mcp.link.commands import (
    AssistantInput,
    EndChat,
    PauseAssistantMessage,
    Refused,
    ResumeAssistantMessage,
    SessionSettings,
    UserInput,
)
from evi_mcp.link.livekit.gate import Gate
from evi_mcp.link.livekit.telling import Telling
from evi_mcp.link.livekit.tools import Tools
from evi_mcp.link.whispers import Prompt

_REFUSED = ("builtin_tools", "language_model_api_key", "audio")


class Steering:
    """Registers on a link what this session can do. Make it once the session has an agent."""

    def __init__(self, link: ChatLink, session: Any, gate: Gate, telling: Telling, tools: Tools) -> None:
        self._link = link
        self._session = session
        self._gate = gate
        self._telling = telling
        self._tools = tools
        self._prompt = Prompt()
        self._realtime = isinstance(self._model("llm"), llm.RealtimeModel)
        self.ended_because: str | None = None
        """Why a supervisor has ended the session; `None` if none has."""
        link.on(UserInput)(self._user_input)
        link.on(SessionSettings)(self._settings)
        link.on(EndChat)(self._end)
        if self._can_speak():
            link.on(AssistantInput)(self._assistant_input)
        if not self._realtime:
            link.on(PauseAssistantMessage)(lambda _: gate.pause())
            link.on(ResumeAssistantMessage)(lambda _: gate.resume())

    def _model(self, kind: str) -> Any:
        """The LLM or the TTS in use; `None` if there is none. An agent's own goes before the session's."""
        own = getattr(self._session.current_agent, kind, None)
        return own if own is None or hasattr(own, "label") else getattr(self._session, kind)

    def _can_speak(self) -> bool:
        """Whether words can be said as they are. Without audio, as in a text console, they always can."""
        model = self._model("llm")
        says = self._realtime and getattr(model.capabilities, "supports_say", False)
        return bool(self._model("tts") or says or self._session.output.audio is None)

    def _user_input(self, command: UserInput) -> None:
        turn = llm.ChatMessage(role="user", content=[command.text])
        self._telling.expect_turn(turn.id, command.text)
        self._link.user_message(command.text, from_text=True)
        self._session.generate_reply(user_input=turn)

    def _assistant_input(self, command: AssistantInput) -> None:
        self._telling.expect_speech(command.text)
        with self._gate.opened():
            self._session.say(command.text, add_to_chat_ctx=True)

    def _end(self, command: EndChat) -> None:
        if command.text and AssistantInput.type in self._link.supports:
            self._assistant_input(AssistantInput(command.text))
        self.ended_because = command.reason or "ended by a supervisor"
        self._session.shutdown(drain=True)

    async def _settings(self, command: SessionSettings) -> None:
        """All of it, or nothing."""
        set_voice = self._check(command)
        agent = self._session.current_agent
        added = None if command.tools is None else self._tools.checked(command.tools, agent)
        if self._realtime and "context" in command.changed:
            self._prompt.stand(command.context)
        if command.changed & {"system_prompt", "variables"} or (self._realtime and "context" in command.changed):
            prompt = self._prompt.change(command.system_prompt, command.variables, str(agent.instructions))
            await agent.update_instructions(prompt)
        if added is not None:
            await self._tools.replace_added(added, agent)
        if set_voice is not None:
            set_voice()
        if "context" in command.changed and not self._realtime:
            self._gate.whisper(command.context)

    def _check(self, command: SessionSettings) -> Callable[[], None] | None:
        """Returns what changes the voice, if it is to be changed."""
        cannot = [name for name in _REFUSED if name in command.changed]
        set_voice = None if command.voice_id is None else self._voice_setter(command.voice_id)
        if command.voice_id is not None and set_voice is None:
            cannot.append("voice_id")
        if self._realtime and command.context is not None and not command.context.persistent:
            cannot.append("a temporary context")
        if cannot:
            raise Refused(f"this LiveKit agent cannot change {', '.join(cannot)}; nothing was changed")
        return set_voice

    def _voice_setter(self, voice_id: str) -> Callable[[], None] | None:
        """What the plugin of the voice offers for it; plugins differ in the name."""
        update = getattr(self._model("tts"), "update_options", None)
        if update is None:
            return None
        names = inspect.signature(update).parameters
        name = next((name for name in ("voice", "voice_id") if name in names), None)
        return None if name is None else lambda: update(**{name: voice_id})
