"""One line that makes a Pipecat bot a chat that can be supervised."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Literal

from pipecat.services.llm_service import LLMService
from pipecat.services.tts_service import TTSService

from evi_mcp.link.chat_link import DEFAULT_HUB, ChatLink
from evi_mcp.link.pipecat.gate import Gate
from evi_mcp.link.pipecat.observer import Telling
from evi_mcp.link.pipecat.steering import Steering
from evi_mcp.link.pipecat.tools import tools_with
from evi_mcp.link.supervised_tools import FALLBACK, TIMEOUT_S, SupervisedTools

DRAIN_S = 1.0
"""How long the end of a call waits for what the observer has not looked at yet."""


class Supervision:
    """A bot that is supervised; made by `supervise`."""

    def __init__(self, link: ChatLink, telling: Telling) -> None:
        self.link = link
        self._telling = telling

    def expression(self, speaker: Literal["user", "assistant"], scores: Mapping[str, float]) -> None:
        """How the newest message of this side sounded: scores of any names. Nothing if it has not spoken yet."""
        if (message := self._telling.newest.get(speaker)) is not None:
            self.link.expression(message, scores)


def supervise(
    worker: Any,
    context: Any,
    *,
    hub: str = DEFAULT_HUB,
    key: str | None = None,
    supervised_tools: Sequence[Any] = (),
    tool_timeout_s: float = TIMEOUT_S,
    tool_fallback: str | Mapping[str, str] = FALLBACK,
    tools_outlast_interruptions: bool = False,
    audio: bool = False,
    chat_id: str | None = None,
    chat_group_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    insecure: bool = False,
) -> Supervision:
    """Lets a hub supervise this pipeline, from its start to its end. Call it once, before the worker runs.

    Args:
        worker: The `PipelineWorker`.
        context: The `LLMContext` of its aggregators.
        hub, key, chat_id, chat_group_id, metadata, insecure: As for `ChatLink`.
        supervised_tools: Tools that a supervisor answers: names that the context advertises, or `FunctionSchema`s,
            which are then advertised.
        tool_timeout_s: How long such a call waits, in seconds.
        tool_fallback: What the LLM gets if nobody answers; a mapping has it by tool name.
        tools_outlast_interruptions: Whether such a call goes on when the user speaks; Pipecat then lets the LLM
            answer meanwhile, and tells it the result later.
        audio: Whether the hub gets what the bot's voice sounds like, some 70 KB a second.

    Raises:
        ValueError: `hub` or `chat_id` is malformed.
    """
    link = ChatLink(
        hub,
        key=key,
        chat_id=chat_id,
        chat_group_id=chat_group_id,
        source=f"pipecat {version('pipecat-ai')}",
        metadata=metadata,
        insecure=insecure,
    )
    processors = list(_walk(worker.pipeline))
    llms = [processor for processor in processors if isinstance(processor, LLMService)]
    voices = [processor for processor in processors if isinstance(processor, TTSService)]
    supervised = {getattr(tool, "name", tool) for tool in supervised_tools}
    telling = Telling(link, supervised, audio=audio)
    worker.add_observer(telling)
    gate = Gate(worker, context, llms, voices)
    tools = SupervisedTools(link, timeout_s=tool_timeout_s, fallback=tool_fallback)
    steering = Steering(
        link,
        worker,
        context,
        gate,
        tools,
        supervised,
        llms=llms,
        has_voice=bool(voices),
        realtime=any(llm.service_metadata_frame().is_realtime_service for llm in llms),
    )
    for name in supervised:
        for llm in llms:
            llm.register_function(name, steering.answer, cancel_on_interruption=not tools_outlast_interruptions)
    advertised = {tool.name for tool in getattr(context.tools, "standard_tools", ())}
    if new := [tool for tool in supervised_tools if not isinstance(tool, str) and tool.name not in advertised]:
        context.set_tools(tools_with(context.tools, new))

    async def started(*_: Any) -> None:
        link.start()

    async def finished(_: Any, frame: Any) -> None:
        try:
            async with asyncio.timeout(DRAIN_S):
                await telling.over.wait()
        except TimeoutError:
            pass
        await link.stop(str(getattr(frame, "reason", None) or "the call ended"))

    worker.add_event_handler("on_pipeline_started", started)
    worker.add_event_handler("on_pipeline_finished", finished)
    return Supervision(link, telling)


def _walk(processor: Any) -> Iterator[Any]:
    yield processor
    for inner in processor.processors:
        yield from _walk(inner)
