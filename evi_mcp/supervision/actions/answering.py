"""Answering the tool calls of a chat: the first answer wins."""

import time
from dataclasses import replace

from evi_mcp.access.callers import Caller
from evi_mcp.chat.tool_calls import MAX_ANSWER, OPEN, SOMEONE_ELSE, Answerer, Status, TrackedCall, answer_key
from evi_mcp.errors import InvalidArgument, ToolCallAnswered, UnknownToolCall
from evi_mcp.protocol.commands import ToolError, ToolResponse
from evi_mcp.protocol.cutting import MAX_NAME, was_cut
from evi_mcp.quoting import quote
from evi_mcp.supervision.actions.cautions import warn_if_paused
from evi_mcp.supervision.effects import TakenByEvi
from evi_mcp.supervision.intents import Always, Intent, Receipt
from evi_mcp.supervision.live_chat import LiveChat

_ANSWERS = ("tool_response", "tool_error")


class CallIsOpen(Always):
    """Refuses if the call is closed, and closes it with the write."""

    needs_history = True

    def __init__(self, call: TrackedCall, command: ToolResponse | ToolError, by: Caller) -> None:
        self._call, self._command, self._by = call, command, by
        self._begun_after = 0

    def check(self, chat: LiveChat) -> None:
        """Raises `ToolCallAnswered` or `InvalidArgument` as `check_open`."""
        check_open(self._call)

    def begin(self, chat: LiveChat) -> None:
        """The first answer wins: this one."""
        self._begun_after = chat.record.log.last_seq
        status = Status.FAILED if isinstance(self._command, ToolError) else Status.ANSWERED
        now, elapsed = chat.clock.now(), chat.clock.elapsed()
        by = Answerer(self._by.claimed or self._by.kind.value, self._by.kind.value)
        self._call.close(status, by, at=now, elapsed=elapsed)
        self._call.answer = (self._command.content or "")[:MAX_ANSWER]
        self._call.sent = answer_key(self._command.type, self._command.content)

    def undo(self, chat: LiveChat) -> None:
        """Nobody would ever answer the caller if it was lost: it may be answered again, knowingly."""
        since = chat.record.log.after(self._begun_after)
        if not any(e.tool_call_id == self._call.tool_call_id and e.type in _ANSWERS for e in since):
            chat.record.tool_calls.reopen(self._call)


def find_call(chat: LiveChat, tool_call_id: str) -> TrackedCall:
    """The call that an id means, if it can be answered.

    Raises:
        UnknownToolCall, ToolCallAnswered, InvalidArgument: It cannot, for the reason that the name says.
    """
    calls = chat.record.tool_calls
    call = calls.get(tool_call_id)
    if call is None:
        raise UnknownToolCall(tool_call_id, [pending.tool_call_id for pending in calls.pending()])
    check_open(call)
    return call


def check_open(call: TrackedCall) -> None:
    """Refuses to answer what cannot be answered.

    Raises:
        ToolCallAnswered: The call is closed.
        InvalidArgument: EVI answers it itself, or its id is too long to be repeated to EVI.
    """
    if was_cut(call.tool_call_id):
        raise InvalidArgument(
            f"the id of tool call {quote(call.tool_call_id, 40)} is longer than {MAX_NAME} characters, so it cannot be"
            " answered from here; nothing was sent."
        )
    if call.status is Status.RUNNING:
        raise InvalidArgument(f"tool call {quote(call.tool_call_id, 80)} is a built-in that EVI answers itself.")
    if call.status not in OPEN:
        raise ToolCallAnswered(
            call.tool_call_id,
            call.status.value,
            answered_by(call.answered_by or SOMEONE_ELSE),
            time.strftime("%H:%M:%S UTC", time.gmtime(call.closed_at)),
        )


def answered_by(who: Answerer) -> str:
    """Who answered, for a sentence: a claimed name is quoted, so that it passes for nobody else."""
    if who.kind == "other":
        return who.name
    return f"this server ({who.name})" if who.kind == "server" else quote(who.name, 80)


def answer_of(
    call: TrackedCall, content: str, *, is_error: bool = False, error: str | None = None, code: str | None = None
) -> ToolResponse | ToolError:
    """The message that answers a call.

    Raises:
        InvalidCommand: EVI would not understand it.
    """
    if is_error:
        return ToolError.of(
            tool_call_id=call.tool_call_id,
            error=error or content or "the tool failed",
            content=content,
            level="warn",
            tool_type="function",
            **({"code": code} if code is not None else {}),
        )
    return ToolResponse.of(
        tool_call_id=call.tool_call_id,
        content=content,
        tool_type="function",
        **({"tool_name": call.name} if call.name else {}),
    )


async def answer(
    chat: LiveChat, call: TrackedCall, command: ToolResponse | ToolError, *, by: Caller, wait_s: float = 0.0
) -> Receipt:
    """Answers a tool call; the first answer wins. Proven by an answer that EVI mirrors, or by EVI going on.

    Raises:
        ToolCallAnswered: The call was closed meanwhile.
        NotSent, MaybeSent: As `Sending.send`.
    """
    error = command.error if isinstance(command, ToolError) else None
    code = command.code if isinstance(command, ToolError) else None
    facts = {"tool_call_id": call.tool_call_id, "name": call.name, "content": command.content, "error": error}
    intent = Intent(
        command=command,
        by=by,
        condition=CallIsOpen(call, command, by),
        effect=TakenByEvi(command, call),
        wait_for_effect_s=wait_s,
        facts={**facts, "code": code},
    )
    receipt = warn_if_paused(chat, await chat.send(intent))
    several = len(chat.record.tool_calls.named(call.tool_call_id)) > 1
    return replace(receipt, call_seq=call.number) if several else receipt
