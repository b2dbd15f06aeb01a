"""What stands before a bot's LLM and its voice: closed while paused, and the place where whispers are added.

Nothing is inserted into the pipeline. The `queue_frame` of the processors that matter is wrapped, so that the bot is
built as it always was.
"""

import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pipecat.frames.frames import LLMContextFrame, LLMRunFrame, TTSSpeakFrame
from pipecat.processors.frame_processor import FrameDirection

from evi_mcp.link.commands import Context
from evi_mcp.link.whispers import Whisper

OURS = "evi_mcp"
"""Marks the frames that a supervisor sends, in their `metadata`."""

_log = logging.getLogger("evi_mcp.link")
_QueueFrame = Callable[..., Awaitable[None]]


class Gate:
    """Stands before every LLM and every TTS of a pipeline.

    While paused no LLM is run, no tool is called and nothing is spoken but a supervisor's own words; a response whose
    generation has begun is finished. Transcription goes on, and what is said joins the context.
    """

    def __init__(self, worker: Any, context: Any, llms: Sequence[Any], voices: Sequence[Any]) -> None:
        self.paused = False
        self._worker = worker
        self._context = context
        self._owed = False
        self._whisper = Whisper()
        self._whispered: Any = None
        for llm in llms:
            _wrap(llm, "queue_frame", self._to_llm)
            _wrap(llm, "run_function_calls", self._to_tools)
        for voice in voices:
            _wrap(voice, "queue_frame", self._to_voice)

    def pause(self) -> None:
        """Twice is the same as once."""
        self.paused = True

    async def resume(self) -> None:
        """Answers what was said last, if there is anything to answer."""
        self.paused = False
        if self._owed:
            self._owed = False
            await self._worker.queue_frames([LLMRunFrame()])

    def whisper(self, context: Context | None) -> None:
        """Takes a context for the LLM; `None` clears it."""
        self._whisper.set(context, _count_users(self._context))

    async def _to_llm(
        self,
        pass_on: _QueueFrame,
        frame: Any,
        direction: FrameDirection = FrameDirection.DOWNSTREAM,
        callback: Any = None,
    ) -> None:
        if isinstance(frame, LLMContextFrame):
            if self.paused:
                self._owed = True
                return
            try:
                self._add_whisper(frame.context)
            except Exception:  # the bot answers all the same
                _log.exception("the context of a supervisor was not added")
        await pass_on(frame, direction, callback)

    async def _to_tools(self, pass_on: Callable[[Any], Awaitable[None]], function_calls: Any) -> None:
        if self.paused:
            self._owed = True  # the LLM asks again, with what was said meanwhile
            return
        await pass_on(function_calls)

    async def _to_voice(
        self,
        pass_on: _QueueFrame,
        frame: Any,
        direction: FrameDirection = FrameDirection.DOWNSTREAM,
        callback: Any = None,
    ) -> None:
        if not (self.paused and isinstance(frame, TTSSpeakFrame) and OURS not in frame.metadata):
            await pass_on(frame, direction, callback)

    def _add_whisper(self, context: Any) -> None:
        text = self._whisper.text_for(_count_users(context))
        if text is None and self._whispered is None:
            return
        message = None if text is None else {"role": "developer", "content": text}

        def replace(messages: list[Any]) -> list[Any]:
            kept = [known for known in messages if known is not self._whispered]
            if message is not None:
                kept.insert(_after_newest_user(kept), message)
            return kept

        context.transform_messages(replace)
        self._whispered = message


def _wrap(processor: Any, name: str, gate: Callable[..., Awaitable[None]]) -> None:
    setattr(processor, name, functools.partial(gate, getattr(processor, name)))


def _after_newest_user(messages: Sequence[Any]) -> int:
    """The place behind the newest message of the user; the end if there is none."""
    for place in range(len(messages), 0, -1):
        if _is_users(messages[place - 1]):
            return place
    return len(messages)


def _count_users(context: Any) -> int:
    """How many messages of the user there are: a speculative copy of the context counts like the turn it foresees."""
    return sum(map(_is_users, context.get_messages()))


def _is_users(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "user"
