"""The fallback: a `tool_error` for every tool call that nobody has answered in time, so that no caller is left waiting.

It never replaces an answer. It is not sent for a call that is answered, superseded or perhaps answered, nor after EVI
has gone on: then EVI may already be speaking the answer. While a chat is catching up after an outage, it waits.
"""

import logging
from collections.abc import Callable

import anyio

from evi_mcp.access.callers import FALLBACK
from evi_mcp.chat.tool_calls import TrackedCall
from evi_mcp.clock import Clock, sleep, sleep_until, timeout
from evi_mcp.errors import EviMcpError, NotSent, Unrecorded
from evi_mcp.logs import fields
from evi_mcp.protocol.commands import ToolError, ToolResponse
from evi_mcp.supervision.actions.answering import CallIsOpen, answer_of
from evi_mcp.supervision.effects import TakenByEvi
from evi_mcp.supervision.feed import Feed
from evi_mcp.supervision.intents import Intent
from evi_mcp.supervision.live_chat import LiveChat

CONTENT = "The tool did not answer in time."
RETRY_S = 1.0
"""How long it waits before it retries, in seconds, if the chat cannot be reached or the journal cannot be written."""

_log = logging.getLogger(__name__)


class StillUnanswered(CallIsOpen):
    """Refuses if somebody else may have answered."""

    def __init__(self, call: TrackedCall, command: ToolResponse | ToolError) -> None:
        super().__init__(call, command, FALLBACK)

    def check(self, chat: LiveChat) -> None:
        """Raises `NotSent` if somebody may have answered."""
        if not self._call.is_unanswered:
            raise NotSent(self._command.type, "somebody has answered the call, or EVI has gone on without an answer")


async def answer_after(feed: Feed, find: Callable[[str], LiveChat | None], clock: Clock, seconds: float) -> None:
    """Answers each tool call of the feed once it has waited this long; never returns.

    Args:
        feed: A feed of `tool_call` events.
        find: Gives the attached chat with an id.
        seconds: How long a call may wait, from when it reached this server.
    """
    async with anyio.create_task_group() as group:
        with feed:
            async for batch in feed:
                for event in batch.events:
                    chat = find(event.chat_id)
                    call = chat.record.tool_calls.numbered(event.seq) if chat is not None else None
                    if chat is not None and call is not None and event.response_required:
                        group.start_soon(_fall_back, chat, call, clock, seconds)


async def _fall_back(chat: LiveChat, call: TrackedCall, clock: Clock, seconds: float) -> None:
    await sleep_until(clock, call.asked_at + seconds)
    while call.is_unanswered and not chat.over and not chat.is_detached:
        if chat.record.catching_up:
            await chat.changed()
            continue
        command = answer_of(
            call, CONTENT, is_error=True, error=f"nobody answered within {seconds:g} s", code="no_answer"
        )
        intent = Intent(
            command=command,
            by=FALLBACK,
            condition=StillUnanswered(call, command),
            effect=TakenByEvi(command, call),
            facts={"tool_call_id": call.tool_call_id, "name": call.name, "content": CONTENT},
        )
        try:
            await chat.send(intent)
            return
        except Unrecorded:
            await sleep(clock, RETRY_S)
        except NotSent:
            with timeout(clock, RETRY_S):  # retries when the chat is live, if the call still waits then
                await chat.changed()
        except EviMcpError as error:
            _log.warning("fallback not sent", extra=fields(chat_id=chat.chat_id, error=type(error).__name__))
            return
        except Exception:  # a fault in one chat must not leave the callers of the others waiting
            _log.exception("fallback failed", extra=fields(chat_id=chat.chat_id))
            return
