"""Tools that a supervisor answers: the bot asks, waits so long, and goes on with a fallback if nobody does."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from evi_mcp.link.chat_link import ChatLink
from evi_mcp.link.commands import Refused, ToolError, ToolResponse

TIMEOUT_S = 45.0
FALLBACK = "The tool is not available right now."
MAX_CLOSED = 1000
"""Answered calls that are remembered, to tell a late answer from one to a call that never was."""

_log = logging.getLogger("evi_mcp.link")


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """What the LLM gets. `is_error`: the tool failed, or nobody answered in time."""

    content: str
    is_error: bool = False


class SupervisedTools:
    """The calls that wait for an answer. The first answer counts.

    Args:
        link: Registers the handlers of `tool_response` and `tool_error` on it; make this before it starts.
        timeout_s: How long a call waits.
        fallback: What the LLM gets where nobody answers, or an error says nothing else; by tool name where it is a
            mapping.
    """

    def __init__(
        self, link: ChatLink, *, timeout_s: float = TIMEOUT_S, fallback: str | Mapping[str, str] = FALLBACK
    ) -> None:
        self._link = link
        self._timeout_s = timeout_s
        self._fallback = fallback
        self._waiting: dict[str, asyncio.Future[ToolResponse | ToolError]] = {}
        self._closed: dict[str, str] = {}
        link.on(ToolResponse)(self._take)
        link.on(ToolError)(self._take)

    def is_open(self, tool_call_id: str) -> bool:
        """Whether this call waits for an answer."""
        return tool_call_id in self._waiting

    async def ask(self, name: str, parameters: str | Mapping[str, Any], tool_call_id: str | None = None) -> ToolAnswer:
        """Shows the call to the supervisors and waits for the first answer. Cancelling it drops the call."""
        id_ = tool_call_id or f"call_{uuid4().hex[:24]}"
        fallback = self._fallback if isinstance(self._fallback, str) else self._fallback.get(name, FALLBACK)
        waiting: asyncio.Future[ToolResponse | ToolError] = asyncio.get_running_loop().create_future()
        self._waiting[id_] = waiting
        self._closed.pop(id_, None)  # the id is used again: the newest call is meant
        try:
            self._link.tool_call(id_, name, parameters, response_required=True)
            await asyncio.wait([waiting], timeout=self._timeout_s)
        except asyncio.CancelledError:
            if not waiting.done():
                self._link.tool_error(id_, "the conversation moved on before an answer came", code="cancelled")
            raise
        finally:
            if self._waiting.get(id_) is waiting:
                del self._waiting[id_]
            self._close(id_, "was answered already" if waiting.done() else "is closed: the bot waits no longer")
        if not waiting.done():
            self._link.tool_error(
                id_, f"nobody answered within {self._timeout_s:g} s", content=fallback, code="no_answer"
            )
            return ToolAnswer(fallback, is_error=True)
        answer = waiting.result()
        if isinstance(answer, ToolError):
            return ToolAnswer(fallback if answer.content is None else answer.content, is_error=True)
        return ToolAnswer(answer.content)

    def _close(self, id_: str, outcome: str) -> None:
        self._closed[id_] = outcome
        while len(self._closed) > MAX_CLOSED:
            del self._closed[next(iter(self._closed))]

    def _take(self, answer: ToolResponse | ToolError) -> None:
        waiting = self._waiting.get(answer.tool_call_id)
        if waiting is None or waiting.done():
            known = "was answered already" if waiting is not None else self._closed.get(answer.tool_call_id)
            raise Refused(f"the tool call {known}" if known else "no tool call of this id waits for an answer")
        waiting.set_result(answer)
