"""What happens in a Pipecat pipeline, in EVI's words. It looks on from outside and never holds a frame up."""

import asyncio
import logging
import re
from collections import deque
from collections.abc import Container
from typing import Any

from pipecat.frames.frames import (
    AggregatedTextFrame,
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    CancelFrame,
    EndFrame,
    ErrorFrame,
    ExternalFunctionCallCancelFrame,
    ExternalFunctionCallInProgressFrame,
    ExternalFunctionCallResultFrame,
    FunctionCallCancelFrame,
    FunctionCallInProgressFrame,
    FunctionCallResultFrame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    LLMContextAssistantTurnFrame,
    StopFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSTextFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.observers.base_observer import BaseObserver, FramePushed
from pipecat.pipeline.pipeline import PipelineSink
from pipecat.processors.frame_processor import FrameDirection
from pipecat.processors.frameworks.rtvi.frames import RTVISendTextFrame
from pipecat.transports.base_output import BaseOutputTransport

from evi_mcp.link.chat_link import ChatLink
from evi_mcp.link.messages import Message, text_of
from evi_mcp.link.pipecat.gate import OURS
from evi_mcp.link.speech import Speech

MAX_SEGMENTS = 1000
"""Sentences remembered, to know the words that are spoken of them."""

_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]]*\s*$")
_log = logging.getLogger("evi_mcp.link")


class Telling(BaseObserver):  # type: ignore[misc]  # foreign, and not installed where this is checked
    """Tells a link what it sees.

    Args:
        link: Told everything.
        supervised: Names of the tools that supervisors answer; their calls are told by whoever asks.
        audio: Whether the bot's voice is told as well.
    """

    def __init__(self, link: ChatLink, supervised: Container[str], *, audio: bool) -> None:
        super().__init__()
        self.over = asyncio.Event()
        """Set once the end has gone through the pipeline, and so everything before it."""
        self.newest: dict[str, Message] = {}
        """The newest message of `user` and `assistant`."""
        self._link = link
        self._supervised = supervised
        self._audio = audio
        self._spoken_inputs: deque[str] = deque(maxlen=100)
        self._segments: deque[int] = deque(maxlen=MAX_SEGMENTS)
        self._loose = ""
        self._bot_speaks = False
        self._turn_open = False
        self._told_in_turn = False
        self._end_is_due = False
        self._speech = Speech()
        self._failed = False

    async def on_push_frame(self, data: FramePushed) -> None:
        try:
            self._see(data)
        except Exception:
            if not self._failed:
                self._failed = True
                _log.exception("something in the bot could not be told; more of this is not logged")

    def _see(self, data: Any) -> None:
        frame = data.frame
        if frame.broadcast_sibling_id is not None and data.direction is not FrameDirection.DOWNSTREAM:
            return  # the same goes the other way as well
        if isinstance(frame, AggregatedTextFrame):
            if isinstance(data.source, BaseOutputTransport):
                self._see_text(frame)
        elif isinstance(frame, (EndFrame, CancelFrame, StopFrame)):
            if isinstance(data.destination, PipelineSink):
                self.over.set()
        elif data.first_push:
            self._see_first(frame, data.source)

    def _see_first(self, frame: Any, source: Any) -> None:
        match frame:
            case VADUserStartedSpeakingFrame() | UserStartedSpeakingFrame():
                self._speech.begin(self._link.now_ms)
            case VADUserStoppedSpeakingFrame() | UserStoppedSpeakingFrame():
                self._speech.end(self._link.now_ms)
            case InterimTranscriptionFrame():
                self._heard(frame, interim=True)
            case TranscriptionFrame():
                self._heard(frame, interim=False)
            case RTVISendTextFrame():
                self.newest["user"] = self._link.user_message(frame.text, from_text=True)
            case InterruptionFrame():
                self._interrupt()
            case TTSAudioRawFrame() if self._audio and isinstance(source, BaseOutputTransport):
                if (message := self.newest.get("assistant")) is not None:
                    self._link.audio_output(message, frame.audio, frame.sample_rate, frame.num_channels)
            case ErrorFrame():
                self._link.error("pipecat_error", str(frame.error))
            case _:
                self._see_turn(frame)
                self._see_tool(frame)

    def _see_turn(self, frame: Any) -> None:
        match frame:
            case TTSSpeakFrame() if OURS in frame.metadata:
                self._spoken_inputs.append(frame.text.strip())
            case BotStartedSpeakingFrame():
                self._bot_speaks = True
            case BotStoppedSpeakingFrame():
                self._bot_speaks = False
                self._flush()
                if self._end_is_due:
                    self._end_turn()
            case LLMContextAssistantTurnFrame():
                self._flush()
                if not self._told_in_turn and not self._bot_speaks:
                    self._tell(frame.text)  # a bot without a voice
                if self._bot_speaks and self._turn_open:
                    self._end_is_due = True
                else:
                    self._end_turn()

    def _see_tool(self, frame: Any) -> None:
        if getattr(frame, "function_name", None) in self._supervised:
            return  # told by whoever asks the supervisors
        match frame:
            case FunctionCallInProgressFrame() | ExternalFunctionCallInProgressFrame():
                self._link.tool_call(frame.tool_call_id, frame.function_name, text_of(frame.arguments))
            case FunctionCallResultFrame(error=str(error)):
                self._link.tool_error(frame.tool_call_id, error, content=text_of(frame.result))
            case FunctionCallResultFrame(properties=properties):
                if properties is None or properties.is_final:
                    self._link.tool_response(frame.tool_call_id, frame.result, name=frame.function_name)
            case ExternalFunctionCallResultFrame(is_final=True):
                self._link.tool_response(frame.tool_call_id, frame.result, name=frame.function_name)
            case FunctionCallCancelFrame() | ExternalFunctionCallCancelFrame():
                self._link.tool_error(frame.tool_call_id, "the call was cancelled", code="cancelled")

    def _heard(self, frame: Any, *, interim: bool) -> None:
        if not frame.text.strip():
            return
        begin, end = self._speech.interval(self._link.now_ms, is_final=not interim)
        language = getattr(frame.language, "value", frame.language)
        message = self._link.user_message(
            frame.text,
            interim=interim,
            begin_ms=begin,
            end_ms=end,
            language=None if language is None else str(language),
        )
        if not interim:
            self.newest["user"] = message

    def _see_text(self, frame: Any) -> None:
        """Text that has come to where it is heard: a sentence, a word of it, or a piece without a sentence."""
        segment = frame.segment_id if isinstance(frame, TTSTextFrame) else frame.id
        if segment is None:  # of a speech-to-speech service
            self._loose += frame.text if frame.includes_inter_frame_spaces else f" {frame.text}"
            if _SENTENCE_END.search(self._loose):
                self._flush()
        elif frame.will_be_spoken and segment not in self._segments:
            self._segments.append(segment)
            self._tell(frame.text)

    def _tell(self, text: str) -> None:
        if not text.strip():
            return
        ours = text.strip() in self._spoken_inputs
        if ours:
            self._spoken_inputs.remove(text.strip())
        self.newest["assistant"] = self._link.assistant_message(text.strip(), from_text=ours)
        self._turn_open = self._told_in_turn = True
        self._end_is_due = False

    def _flush(self) -> None:
        loose, self._loose = self._loose, ""
        self._tell(loose)

    def _end_turn(self) -> None:
        if self._turn_open:
            self._link.assistant_end()
        self._turn_open = self._told_in_turn = self._end_is_due = False

    def _interrupt(self) -> None:
        self._flush()
        if self._turn_open or self._bot_speaks:
            self._link.user_interruption()
        self._turn_open = self._told_in_turn = self._end_is_due = False
        self._spoken_inputs.clear()  # dropped with everything else that was to be spoken
