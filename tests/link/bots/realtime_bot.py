"""A Pipecat bot on a realtime service that needs no account: the service hears and speaks by itself, after a script."""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from loguru import logger
from pipecat.frames.frames import (
    Frame,
    InputTransportMessageFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMServiceMetadataFrame,
    OutputAudioRawFrame,
    TextType,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection
from pipecat.serializers.base_serializer import FrameSerializer
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings
from pipecat.transports.websocket.server import (
    SingleClientWebsocketServerParams,
    SingleClientWebsocketServerTransport,
)
from pipecat.workers.runner import WorkerRunner

from evi_mcp.link.pipecat import supervise

sys.path.insert(0, str(Path(__file__).parent.parent.parent.parent / "examples"))

from letters import Reader, sound_of

RATE = 24_000


class Line(FrameSerializer):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self._reader = Reader(RATE)

    async def serialize(self, frame: Frame) -> str | None:
        if not isinstance(frame, OutputAudioRawFrame) or not (letters := self._reader.read(frame.audio)):
            return None
        return json.dumps({"heard": letters})

    async def deserialize(self, data: str | bytes) -> Frame | None:
        return InputTransportMessageFrame(message=json.loads(data))


class Realtime(LLMService):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(settings=LLMSettings(model="scripted", system_instruction="Be a desk."))

    def service_metadata_frame(self) -> Any:
        return LLMServiceMetadataFrame(service_name=self.name, is_realtime_service=True)

    async def process_frame(self, frame: Frame, direction: Any) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, InputTransportMessageFrame):
            await self.push_frame(frame, direction)
            return
        said = frame.message["said"]
        heard = TranscriptionFrame(text=said, user_id="caller", timestamp="", finalized=True)
        await self.push_frame(heard, FrameDirection.UPSTREAM)
        await self.push_frame(LLMFullResponseStartFrame())
        await self.push_frame(TTSStartedFrame())
        for word in f"You said: {said}. My orders: {self.settings.system_instruction}".split():
            text = TTSTextFrame(f"{word} ", TextType.SENTENCE)
            text.includes_inter_frame_spaces = True
            await self.push_frame(TTSAudioRawFrame(audio=sound_of(f"{word} ", RATE), sample_rate=RATE, num_channels=1))
            await self.push_frame(text)
        await self.push_frame(TTSStoppedFrame())
        await self.push_frame(LLMFullResponseEndFrame())


async def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--hub", "--key", "--port"):
        parser.add_argument(name)
    options = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    parameters = SingleClientWebsocketServerParams(serializer=Line(), audio_in_enabled=True, audio_out_enabled=True)
    transport = SingleClientWebsocketServerTransport(parameters, host="127.0.0.1", port=int(options.port))
    context = LLMContext()
    aggregators = LLMContextAggregatorPair(context)
    stages = [transport.input(), aggregators.user(), Realtime(), transport.output(), aggregators.assistant()]
    worker = PipelineWorker(Pipeline(stages))
    supervise(worker, context, hub=options.hub, key=options.key)
    runner = WorkerRunner(handle_sigint=True)
    await runner.add_workers(worker)
    print("on ws://", flush=True)
    await runner.run()


asyncio.run(main())
