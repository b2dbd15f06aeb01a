"""One line that makes a LiveKit agent a chat that can be supervised."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from livekit.agents import __version__, get_job_context

from evi_mcp.link.chat_link import DEFAULT_HUB, ChatLink
from evi_mcp.link.livekit.gate import Gate
from evi_mcp.link.livekit.steering import Steering
from evi_mcp.link.livekit.telling import Telling
from evi_mcp.link.livekit.tools import Tools
from evi_mcp.link.supervised_tools import FALLBACK, TIMEOUT_S, SupervisedTools

_log = logging.getLogger("evi_mcp.link")


class Supervision:
    """A session that is supervised; made by `supervise`."""

    def __init__(self, link: ChatLink, session: Any, telling: Telling, gate: Gate, tools: Tools) -> None:
        self.link = link
        self._session = session
        self._telling = telling
        self._gate = gate
        self._tools = tools
        self._steering: Steering | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        session.on("conversation_item_added", self._see_item)
        session.on("close", self._see_close)

    def expression(self, speaker: Literal["user", "assistant"], scores: Mapping[str, float]) -> None:
        """How the newest message of this side sounded: scores of any names. Nothing if it has not spoken yet."""
        if (message := self._telling.newest.get(speaker)) is not None:
            self.link.expression(message, scores)

    def take(self, agent: Any) -> None:
        """An agent has become the active one."""
        try:
            self._gate.install(agent)
            self._telling.install(agent)
            self._run(self._tools.install(agent))
            self._begin()
        except Exception:  # the call goes on
            _log.exception("the agent %s is not supervised", getattr(agent, "id", "?"))

    def _begin(self) -> None:
        if self._steering is not None:
            return
        self._steering = Steering(self.link, self._session, self._gate, self._telling, self._tools)
        self.link.start()
        if (job := get_job_context(required=False)) is not None:

            async def stop(reason: str) -> None:
                await self.link.stop(reason or "the job ended")

            job.add_shutdown_callback(stop)

    def _see_item(self, event: Any) -> None:
        if event.item.type == "agent_handoff":
            self.take(self._session.current_agent)

    def _see_close(self, event: Any) -> None:
        why = self._steering.ended_because if self._steering is not None else None
        self.link.end(why or f"the session closed: {getattr(event.reason, 'value', event.reason)}")
        if self._steering is not None:
            self._run(self.link.stop())

    def _run(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("supervision failed in part", exc_info=error)


def supervise(
    session: Any,
    *,
    hub: str = DEFAULT_HUB,
    key: str | None = None,
    supervised_tools: Sequence[str | Mapping[str, Any]] = (),
    tool_timeout_s: float = TIMEOUT_S,
    tool_fallback: str | Mapping[str, str] = FALLBACK,
    tools_outlast_interruptions: bool = False,
    chat_id: str | None = None,
    chat_group_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    insecure: bool = False,
) -> Supervision:
    """Lets a hub supervise this session, until it closes. Call it once, before or after `session.start`.

    Args:
        session: The `AgentSession`.
        hub, key, chat_id, chat_group_id, metadata, insecure: As for `ChatLink`.
        supervised_tools: Tools that a supervisor answers: names of tools that the agent has, whose own bodies are then
            not run, or schemas (`name`, `description`, `parameters`) of new ones.
        tool_timeout_s: How long such a call waits, in seconds.
        tool_fallback: What the LLM gets if nobody answers; a mapping has it by tool name.
        tools_outlast_interruptions: Whether such a call goes on when the user speaks; the LLM then answers meanwhile,
            and gets the result later.

    Raises:
        ValueError: `hub` or `chat_id` is malformed.
    """
    link = ChatLink(
        hub,
        key=key,
        chat_id=chat_id,
        chat_group_id=chat_group_id,
        source=f"livekit {__version__}",
        metadata=metadata,
        insecure=insecure,
    )
    answers = SupervisedTools(link, timeout_s=tool_timeout_s, fallback=tool_fallback)
    tools = Tools(supervised_tools, answers, outlast=tools_outlast_interruptions)
    telling = Telling(link, session, tools.names)
    supervision = Supervision(link, session, telling, Gate(session), tools)
    try:
        agent = session.current_agent
    except RuntimeError:
        return supervision  # it begins with the session
    supervision.take(agent)
    return supervision
