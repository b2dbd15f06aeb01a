"""A LiveKit agent on a realtime model that needs no account: the model hears and speaks by itself, after a script."""

import asyncio
import os
import sys
from typing import Any

from livekit.agents import Agent, AgentSession, llm, utils
from livekit.agents.llm import realtime
from livekit.agents.types import NOT_GIVEN

from evi_mcp.link.livekit import supervise


class Model(llm.RealtimeModel):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(
            capabilities=llm.RealtimeCapabilities(
                message_truncation=False,
                turn_detection=True,
                user_transcription=True,
                auto_tool_reply_generation=False,
                audio_output=False,
                manual_function_calls=False,
                mutable_instructions=True,
                mutable_chat_context=True,
                mutable_tools=True,
            )
        )
        self.sessions: list[Session] = []

    def session(self, *, turn_detection_disabled: bool = False) -> "Session":
        self.sessions.append(Session(self))
        return self.sessions[-1]

    async def aclose(self) -> None:
        pass


class Session(llm.RealtimeSession):  # type: ignore[misc]
    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self._chat_ctx = llm.ChatContext.empty()
        self._tools = llm.ToolContext.empty()
        self.instructions = ""

    @property
    def chat_ctx(self) -> Any:
        return self._chat_ctx.copy()

    @property
    def tools(self) -> Any:
        return self._tools.copy()

    async def update_instructions(self, instructions: str) -> None:
        self.instructions = str(instructions)

    async def update_chat_ctx(self, chat_ctx: Any, **_: Any) -> None:
        self._chat_ctx = chat_ctx

    async def update_tools(self, tools: list[Any]) -> None:
        self._tools = llm.ToolContext(tools)

    def update_options(self, *, tool_choice: Any = NOT_GIVEN) -> None:
        pass

    def push_audio(self, frame: Any) -> None:
        pass

    def push_video(self, frame: Any) -> None:
        pass

    def commit_audio(self) -> None:
        pass

    def clear_audio(self) -> None:
        pass

    def interrupt(self) -> None:
        pass

    def truncate(self, **_: Any) -> None:
        pass

    async def aclose(self) -> None:
        pass

    def generate_reply(self, **_: Any) -> "asyncio.Future[Any]":
        reply = asyncio.get_running_loop().create_future()
        reply.set_result(self.speak(f"My orders: {self.instructions}", user_initiated=True))
        return reply

    def hear(self, text: str) -> None:
        """The user has said this, and the model answers."""
        item_id = utils.shortuuid("item_")
        self.emit(
            "input_audio_transcription_completed",
            realtime.InputTranscriptionCompleted(item_id=item_id, transcript=text, is_final=True),
        )
        self.emit("generation_created", self.speak(f"You said: {text}. My orders: {self.instructions}"))

    def speak(self, text: str, *, user_initiated: bool = False) -> Any:
        messages, functions = utils.aio.Chan(), utils.aio.Chan()
        texts, audio = utils.aio.Chan(), utils.aio.Chan()
        modalities = asyncio.get_running_loop().create_future()
        modalities.set_result(["text"])
        for word in text.split():
            texts.send_nowait(f"{word} ")
        for channel in (texts, audio, functions):
            channel.close()
        messages.send_nowait(
            llm.MessageGeneration(
                message_id=utils.shortuuid("item_"), text_stream=texts, audio_stream=audio, modalities=modalities
            )
        )
        messages.close()
        return llm.GenerationCreatedEvent(
            message_stream=messages, function_stream=functions, user_initiated=user_initiated
        )


async def main() -> None:
    model = Model()
    session: AgentSession[None] = AgentSession(llm=model, stt=None, tts=None, vad=None)
    supervision = supervise(session, hub=os.environ["EVI_HUB"], key=os.environ["EVI_HUB_KEY"])
    await session.start(Agent(instructions="Be a desk."))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().strip():
        model.sessions[-1].hear(line)
    await session.aclose()
    await supervision.link.stop()


asyncio.run(main())
