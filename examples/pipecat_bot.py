"""A Pipecat bot that can be supervised, without an account: its LLM and its voice are scripted, the caller types.

    pip install "pipecat-ai[websocket]" evi-mcp
    evi-mcp hub                                  # or: evi-mcp serve --hub 127.0.0.1:8770
    python examples/pipecat_bot.py               # the bot, for one call on port 8765
    python examples/typed_caller.py              # you, on the phone

For a bot of your own only the line with `supervise` matters. The three lines marked SERVICE are where real services
go, for example `DeepgramSTTService(...)` behind the transport's input, `OpenAILLMService(...)` and
`CartesiaTTSService(...)`; with a microphone and a speaker at the other end the serializer goes as well.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

from letters import Reader, sound_of
from loguru import logger
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    Frame,
    FunctionCallFromLLM,
    InterimTranscriptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    OutputAudioRawFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.serializers.base_serializer import FrameSerializer
from pipecat.services.llm_service import FunctionCallParams, LLMService
from pipecat.services.settings import LLMSettings, TTSSettings
from pipecat.services.tts_service import TTSService
from pipecat.transports.websocket.server import (
    SingleClientWebsocketServerParams,
    SingleClientWebsocketServerTransport,
)
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from evi_mcp.link.pipecat import supervise

RATE = 24_000


def main() -> None:
    options = argparse.ArgumentParser(description="A Pipecat bot that can be supervised.")
    options.add_argument("--port", type=int, default=8765)
    options.add_argument("--hub", default="http://127.0.0.1:8770")
    options.add_argument("--key", default=None)
    options.add_argument("--chat-id", default=None)
    options.add_argument("--tool-timeout", type=float, default=45.0)
    options.add_argument("--think", type=float, default=0.0, help="seconds before a tool is called")
    options.add_argument("--outlast", action="store_true", help="a refund goes on while the caller talks")
    options.add_argument("--audio", action="store_true", help="the hub hears the bot's voice as well")
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    asyncio.run(run(options.parse_args()))


async def run(options: argparse.Namespace) -> None:
    transport = SingleClientWebsocketServerTransport(
        SingleClientWebsocketServerParams(
            serializer=TypedTelephone(), audio_in_enabled=True, audio_out_enabled=True, audio_out_10ms_chunks=4
        ),
        host="127.0.0.1",
        port=options.port,
    )
    context = LLMContext(
        [{"role": "system", "content": "You are a parcel desk."}],
        tools=ToolsSchema(standard_tools=[PARCEL_STATUS, REFUND]),
    )
    turns = UserTurnStrategies(stop=[SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=0.2)])
    aggregators = LLMContextAggregatorPair(context, user_params=LLMUserAggregatorParams(user_turn_strategies=turns))
    llm = ScriptedLLM(options.think)  # SERVICE
    voice = LetterVoice()  # SERVICE
    llm.register_function("parcel_status", parcel_status)
    worker = PipelineWorker(
        Pipeline(
            [
                transport.input(),  # SERVICE: behind it, speech recognition
                aggregators.user(),
                llm,
                voice,
                transport.output(),
                aggregators.assistant(),
            ]
        )
    )

    # The one line that a supervised bot needs. `refund` is answered by whoever supervises the call.
    supervision = supervise(
        worker,
        context,
        hub=options.hub,
        key=options.key,
        supervised_tools=["refund"],
        tool_timeout_s=options.tool_timeout,
        tool_fallback="Say that a colleague will call back.",
        tools_outlast_interruptions=options.outlast,
        audio=options.audio,
        chat_id=options.chat_id,
    )

    @transport.event_handler("on_client_disconnected")  # type: ignore[untyped-decorator]
    async def hung_up(*_: Any) -> None:
        await worker.cancel(reason="the caller hung up")

    runner = WorkerRunner(handle_sigint=True)
    await runner.add_workers(worker)
    print(f"chat {supervision.link.chat_id} on ws://127.0.0.1:{options.port}", flush=True)
    await runner.run()


PARCEL_STATUS = FunctionSchema(
    name="parcel_status",
    description="Where a parcel is.",
    properties={"number": {"type": "string"}},
    required=["number"],
)
REFUND = FunctionSchema(
    name="refund", description="Asks for a refund.", properties={"amount": {"type": "number"}}, required=["amount"]
)


async def parcel_status(params: FunctionCallParams) -> None:
    """A tool that the bot answers by itself."""
    await asyncio.sleep(0.1)
    await params.result_callback({"place": "Lyon"})


class ScriptedLLM(LLMService):  # type: ignore[misc]
    """Says what it was told, so that one can see what it was told."""

    def __init__(self, thinks_s: float) -> None:
        unset = ("temperature", "max_tokens", "top_p", "top_k", "frequency_penalty", "presence_penalty", "seed")
        super().__init__(
            settings=LLMSettings(
                model="scripted",
                system_instruction=None,
                filter_incomplete_user_turns=False,
                user_turn_completion_config=None,
                **dict.fromkeys(unset),
            )
        )
        self._calls = 0
        self._thinks_s = thinks_s

    async def process_frame(self, frame: Frame, direction: Any) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        messages: list[Any] = frame.context.get_messages()
        last = next(message for message in reversed(messages) if message["role"] in ("user", "tool", "system"))
        if call := self._call_for(last, frame.context):
            print("thinking", flush=True)
            await asyncio.sleep(self._thinks_s)
            await self.push_frame(LLMFullResponseEndFrame())
            await self.run_function_calls([call])
            return
        for word in self._answer(last, messages).split():
            await self.push_frame(LLMTextFrame(f"{word} "))
            await asyncio.sleep(0.005)
        await self.push_frame(LLMFullResponseEndFrame())

    def _call_for(self, last: Any, context: LLMContext) -> FunctionCallFromLLM | None:
        """A tool whose name begins with a word of the user's."""
        said = str(last["content"]).split() if last["role"] == "user" else []
        for tool in context.tools.standard_tools:
            if tool.name.split("_")[0] in said:
                self._calls += 1
                arguments = {name: {"number": "LY-1", "amount": 20}.get(name) for name in tool.required}
                return FunctionCallFromLLM(
                    function_name=tool.name, tool_call_id=f"call_{self._calls}", arguments=arguments, context=context
                )
        return None

    def _answer(self, last: Any, messages: list[Any]) -> str:
        if last["role"] == "tool":
            result = json.loads(last["content"])
            return f"It is in {result['place']}." if isinstance(result, dict) else f"I hear: {result}"
        told = [str(message["content"]) for message in messages if message["role"] == "developer"]
        prompt = str(messages[0]["content"]) if messages[0]["role"] == "system" else ""
        hints = [f"I was told: {' '.join(told)}."] if told else []
        hints += [f"My orders: {prompt}"] if "parcel desk" not in prompt else []
        return " ".join([f"You said: {last['content']}.", *hints])


class LetterVoice(TTSService):  # type: ignore[misc]
    """A voice that needs no model; see `letters.py`."""

    def __init__(self) -> None:
        super().__init__(
            sample_rate=RATE,
            push_start_frame=True,
            push_stop_frames=True,
            settings=TTSSettings(model="letters", voice="letters", language=None),
        )

    async def run_tts(self, text: str, context_id: str) -> AsyncIterator[Frame]:
        sound = sound_of(f"{text} ", RATE)
        yield TTSAudioRawFrame(audio=sound, sample_rate=RATE, num_channels=1, context_id=context_id)


class TypedTelephone(FrameSerializer):  # type: ignore[misc]
    """The line to the caller: `{"said": ...}` and `{"saying": ...}` come in, `{"heard": ...}` goes out."""

    def __init__(self) -> None:
        super().__init__()
        self._reader = Reader(RATE)

    async def serialize(self, frame: Frame) -> str | None:
        if not isinstance(frame, OutputAudioRawFrame):
            return None
        letters = self._reader.read(frame.audio)
        return json.dumps({"heard": letters}) if letters else None

    async def deserialize(self, data: str | bytes) -> Frame | None:
        value = json.loads(data)
        if "said" in value:
            return TranscriptionFrame(text=value["said"], user_id="caller", timestamp="", finalized=True)
        return InterimTranscriptionFrame(text=value["saying"], user_id="caller", timestamp="")


if __name__ == "__main__":
    main()
