"""Answering the tool calls of a chat: the first answer wins."""

import logging
import time
from collections.abc import Callable

import anyio

from evi_mcp.access import callers
from evi_mcp.access.callers import Caller
from evi_mcp.chat.events import Event
from evi_mcp.chat.tool_calls import OPEN, Status, TrackedCall
from evi_mcp.errors import (
    EviMcpError,
    InvalidArgument,
    MaybeSent,
    NotSent,
    ToolCallAnswered,
    UnknownToolCall,
    Unrecorded,
)
from evi_mcp.logs import fields
from evi_mcp.protocol.commands import ToolError, ToolResponse
from evi_mcp.quoting import quote
from evi_mcp.supervision.actions.pausing import warn_if_paused
from evi_mcp.supervision.live_chat import Effect, LiveChat, Receipt, Verdict
from evi_mcp.supervision.registry import ChatRegistry

FALLBACK = "the fallback of this server"
FALLBACK_CONTENT = "The tool did not answer in time."
RETRY_RECORDING_S = 1.0
"""How long the fallback waits for an audit log that cannot be written."""

_ANSWERS = ("tool_response", "tool_error")
_log = logging.getLogger(__name__)


async def answer_tool_call(
    chat: LiveChat,
    tool_call_id: str,
    content: str,
    *,
    by: str,
    is_error: bool = False,
    error: str | None = None,
    code: str | None = None,
    wait_s: float = 0.0,
    caller: Caller | None = None,
) -> Receipt:
    """Answers a tool call; the first answer wins. Proven by an answer that EVI mirrors, or by EVI going on.

    Raises:
        UnknownToolCall, ToolCallAnswered: There is no such call, or it is closed.
        InvalidArgument: The arguments do not go together.
        InvalidCommand, NotSent, MaybeSent: As `LiveChat.send`.
    """
    if not is_error and (error is not None or code is not None):
        raise InvalidArgument("`error` and `code` go with is_error=true; nothing was sent.")
    call = _open_call(chat, tool_call_id)
    if is_error:
        command: ToolError | ToolResponse = ToolError.of(
            tool_call_id=tool_call_id,
            error=error or content or "the tool failed",
            content=content,
            level="warn",
            tool_type="function",
            **({"code": code} if code is not None else {}),
        )
    else:
        command = ToolResponse.of(
            tool_call_id=tool_call_id,
            content=content,
            tool_type="function",
            **({"tool_name": call.name} if call.name else {}),
        )

    claimed_at = 0

    def claim() -> None:
        nonlocal claimed_at
        claimed_at = chat.record.log.last.seq if chat.record.log.last else 0
        _open_call(chat, tool_call_id).close(Status.FAILED if is_error else Status.ANSWERED, by, time.time())

    try:
        receipt = await chat.send(
            command,
            by=by,
            effect=_taken_by_evi(command, call),
            wait_for_effect_s=wait_s,
            guard=claim,
            caller=caller,
            tool_call_id=tool_call_id,
            name=call.name,
            content=content,
            error=error,
            code=code,
        )
    except MaybeSent:
        # Nobody would ever answer the caller if this one was lost: it may be answered again, knowingly.
        since = chat.record.log.after(claimed_at)
        if not any(event.tool_call_id == tool_call_id and event.type in _ANSWERS for event in since):
            chat.record.tool_calls.reopen(call, by)
        raise
    return warn_if_paused(chat, receipt)


def answer_after(registry: ChatRegistry, seconds: float) -> Callable[[Event], None]:
    """A listener that gives every tool call a `tool_error` once it has waited this long for an answer.

    A call that came with the history is reckoned from its arrival here. Nobody's answer is replaced: of a call that is
    answered, superseded, or perhaps answered, the error is not sent.
    """

    def see(event: Event) -> None:
        if event.type == "tool_call" and event.response_required and event.tool_call_id is not None:
            registry.start(_fall_back, registry, event.chat_id, event.tool_call_id, seconds)

    return see


async def _fall_back(registry: ChatRegistry, chat_id: str, tool_call_id: str, seconds: float) -> None:
    await anyio.sleep(seconds)
    while (chat := registry.find(chat_id)) is not None and not chat.over:
        call = chat.record.tool_calls.get(tool_call_id)
        if call is None or call.status is not Status.PENDING or call.answered_by is not None:
            return
        try:
            await answer_tool_call(
                chat,
                tool_call_id,
                FALLBACK_CONTENT,
                by=FALLBACK,
                is_error=True,
                error=f"nobody answered within {seconds:g} s",
                code="no_answer",
                caller=callers.FALLBACK,
            )
            return
        except Unrecorded:
            await anyio.sleep(RETRY_RECORDING_S)
        except NotSent:
            if chat.over:
                return
            await chat.changed()  # to try when it is live again, if the call still waits then
        except EviMcpError as error:
            _log.warning("fallback not sent", extra=fields(chat_id=chat_id, error=type(error).__name__))
            return


def _taken_by_evi(command: ToolResponse | ToolError, call: TrackedCall) -> Effect:
    """Proof is our answer, mirrored, or EVI going on: with words or another call, unless the user has spoken since the
    call, for then EVI may go on with that, and may have dropped the call.

    Another answer to the call, or a `tool_error` that is not ours, says that this one counted for nothing (Hume: a
    malformed or late one gets a `tool_error`).
    """
    moved_on = False

    def effect(event: Event, claimed: bool) -> Verdict | None:
        nonlocal moved_on
        if event.tool_call_id == command.tool_call_id and event.type in _ANSWERS:
            same = event.type == command.type and _alike(event.content, command.content)
            if isinstance(command, ToolError):
                same = same and _alike(event.error, command.error)
            return Verdict.PROOF if same else Verdict.REFUTED
        moved_on = moved_on or (event.type == "user_message" and not event.interim)
        spoke = event.type == "assistant_message" and not (event.from_text or event.quick)
        doubtful = event.replayed or claimed or moved_on or call.user_spoke_since
        return Verdict.PROOF if (spoke or event.type == "tool_call") and not doubtful else None

    return effect


def _alike(logged: str | None, sent: str | None) -> bool:
    return (logged or "")[:1000] == (sent or "")[:1000]  # the log keeps very long texts in part only


def _open_call(chat: LiveChat, tool_call_id: str) -> TrackedCall:
    ledger = chat.record.tool_calls
    call = ledger.get(tool_call_id)
    if call is None:
        raise UnknownToolCall(tool_call_id, [pending.tool_call_id for pending in ledger.pending()])
    if call.status is Status.RUNNING:
        raise InvalidArgument(f"tool call {quote(tool_call_id, 80)} is a built-in that EVI answers itself.")
    if call.status not in OPEN:
        raise ToolCallAnswered(
            tool_call_id,
            call.status.value,
            call.answered_by or "someone",
            time.strftime("%H:%M:%S UTC", time.gmtime(call.closed_at)),
        )
    return call
