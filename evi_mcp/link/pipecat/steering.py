"""A supervisor's commands, carried out in a Pipecat pipeline."""

from collections.abc import Sequence
from typing import Any

from pipecat.frames.frames import (
    EndFrame,
    LLMMessagesAppendFrame,
    LLMSetToolsFrame,
    LLMUpdateSettingsFrame,
    TTSSpeakFrame,
    TTSUpdateSettingsFrame,
)
from pipecat.services.settings import LLMSettings, TTSSettings

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
from evi_mcp.link.pipecat.gate import OURS, Gate
from evi_mcp.link.pipecat.tools import result_of, schema_of, tools_with
from evi_mcp.link.supervised_tools import SupervisedTools
from evi_mcp.link.whispers import Prompt

_REFUSED = ("builtin_tools", "language_model_api_key", "audio")


class Steering:
    """Registers on a link what this pipeline can do.

    Args:
        realtime: The LLM hears and speaks by itself, so that nothing stands between it and the user.
        supervised: Names of the tools that supervisors answer; what they add joins them.
    """

    def __init__(
        self,
        link: ChatLink,
        worker: Any,
        context: Any,
        gate: Gate,
        tools: SupervisedTools,
        supervised: set[str],
        *,
        llms: Sequence[Any],
        has_voice: bool,
        realtime: bool,
    ) -> None:
        self._link = link
        self._worker = worker
        self._context = context
        self._gate = gate
        self._tools = tools
        self._supervised = supervised
        self._llms = llms
        self._has_voice = has_voice
        self._realtime = realtime
        self._prompt = Prompt()
        self._added: set[str] = set()
        link.on(UserInput)(self._user_input)
        link.on(SessionSettings)(self._settings)
        link.on(EndChat)(self._end)
        if has_voice:
            link.on(AssistantInput)(self._assistant_input)
        if not realtime:
            link.on(PauseAssistantMessage)(lambda _: gate.pause())
            link.on(ResumeAssistantMessage)(lambda _: gate.resume())

    async def answer(self, params: Any) -> None:
        """The handler of a tool that supervisors answer."""
        reply = await self._tools.ask(params.function_name, dict(params.arguments), params.tool_call_id)
        await params.result_callback(result_of(reply.content))

    async def _user_input(self, command: UserInput) -> None:
        self._link.user_message(command.text, from_text=True)
        message = {"role": "user", "content": command.text}
        await self._worker.queue_frames([LLMMessagesAppendFrame([message], run_llm=True)])

    async def _assistant_input(self, command: AssistantInput) -> None:
        await self._worker.queue_frames([_speech(command.text)])

    async def _end(self, command: EndChat) -> None:
        last_words = [_speech(command.text)] if command.text and self._has_voice else []
        await self._worker.queue_frames([*last_words, EndFrame(reason=command.reason or "ended by a supervisor")])

    async def _settings(self, command: SessionSettings) -> None:
        """All of it, or nothing."""
        self._check(command)
        frames: list[Any] = []
        added = None if command.tools is None else [schema_of(tool, self.answer) for tool in command.tools]
        if added is not None:
            # The bot's own tools stay; those that supervisors gave before are replaced by these.
            frames.append(LLMSetToolsFrame(tools_with(self._context.tools, added, without=self._added)))
        if self._realtime and "context" in command.changed:
            self._prompt.stand(command.context)
        if command.changed & {"system_prompt", "variables"} or (self._realtime and "context" in command.changed):
            prompt = self._prompt.change(command.system_prompt, command.variables, self._current_prompt())
            frames += self._new_prompt(prompt)
        if added is not None:
            self._supervised -= self._added
            self._added = {tool.name for tool in added}
            self._supervised |= self._added
        if command.voice_id is not None:
            frames.append(TTSUpdateSettingsFrame(delta=TTSSettings(voice=command.voice_id)))
        if "context" in command.changed and not self._realtime:
            self._gate.whisper(command.context)
        if frames:
            await self._worker.queue_frames(frames)

    def _check(self, command: SessionSettings) -> None:
        cannot = [name for name in _REFUSED if name in command.changed]
        if command.voice_id is not None and not self._has_voice:
            cannot.append("voice_id")
        if self._realtime and command.context is not None and not command.context.persistent:
            cannot.append("a temporary context")
        if cannot:
            raise Refused(f"this Pipecat bot cannot change {', '.join(cannot)}; nothing was changed")

    def _current_prompt(self) -> str:
        instruction = getattr(self._llms[0].settings, "system_instruction", None) if self._llms else None
        if isinstance(instruction, str):
            return instruction
        first: Any = next(iter(self._context.get_messages()), None)
        return str(first.get("content") or "") if _is_prompt(first) else ""

    def _new_prompt(self, prompt: str) -> list[Any]:
        """Where the bot's own prompt stands, there the new one goes."""
        in_settings = any(isinstance(getattr(llm.settings, "system_instruction", None), str) for llm in self._llms)
        if in_settings or not _is_prompt(next(iter(self._context.get_messages()), None)):
            return [LLMUpdateSettingsFrame(delta=LLMSettings(system_instruction=prompt))]
        self._context.transform_messages(lambda known: [{**known[0], "content": prompt}, *known[1:]])
        return []


def _speech(text: str) -> Any:
    frame = TTSSpeakFrame(text, append_to_context=True)
    frame.metadata[OURS] = True
    return frame


def _is_prompt(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") in ("system", "developer")
