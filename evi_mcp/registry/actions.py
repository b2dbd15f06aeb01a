"""What agents do to a chat: each command with its conditions, and with the event that proves its effect.

What EVI shows of a command is documented for few of them: `user_input` and `assistant_input` come back as
messages with `from_text`; a tool answer is not sent back to its sender, but EVI goes on; a pause and a resume
leave no trace.
"""

import time

import anyio

from evi_mcp.chat.events import Event
from evi_mcp.chat.log import Position
from evi_mcp.chat.tool_calls import OPEN, Status, TrackedCall
from evi_mcp.errors import InvalidArgument, MaybeSent, NotSent, ToolCallAnswered, UnknownToolCall, UserSpoke
from evi_mcp.protocol.commands import (
    AssistantInput,
    PauseAssistantMessage,
    ResumeAssistantMessage,
    ToolError,
    ToolResponse,
    UserInput,
)
from evi_mcp.quoting import quote
from evi_mcp.registry.live_chat import LiveChat, Receipt
from evi_mcp.registry.registry import ChatRegistry

DEAD_MAN = "the timer of pause"


async def speak(
    registry: ChatRegistry,
    chat: LiveChat,
    command: UserInput | AssistantInput,
    *,
    by: str,
    unless_user_spoke_after: str | None,
    wait_s: float,
) -> Receipt:
    """Says something as the user or as EVI. Proven by the message with `from_text` that comes back from it.

    EVI may split a long `assistant_input` (not documented), so the beginning of it is proof enough.

    Raises:
        NotSent, MaybeSent, InvalidCommand: As `LiveChat.send`.
        UserSpoke: The user said something after the cursor `unless_user_spoke_after`.
        InvalidCursor, InvalidArgument: That cursor is none, or too old to tell.
    """

    def shows_effect(event: Event) -> bool:
        if not event.from_text:
            return False
        if isinstance(command, UserInput):
            return event.type == "user_message" and (event.text or "").split() == command.text.split()
        return event.type == "assistant_message" and _begins(command.text, event.text)

    return await chat.send(
        command,
        by=by,
        effect=shows_effect,
        wait_for_effect_s=wait_s,
        guard=lambda: refuse_if_user_spoke(registry, chat, unless_user_spoke_after),
        text=command.text,
    )


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

    def claim() -> None:
        _open_call(chat, tool_call_id).close(Status.FAILED if is_error else Status.ANSWERED, by, time.time())

    def shows_effect(event: Event) -> bool:
        if event.type in ("tool_response", "tool_error"):
            return event.tool_call_id == tool_call_id and event.type == command.type
        return event.type == "assistant_message" and not event.from_text and not event.replayed

    receipt = await chat.send(
        command,
        by=by,
        effect=shows_effect,
        wait_for_effect_s=wait_s,
        guard=claim,
        tool_call_id=tool_call_id,
        name=call.name,
        content=content,
        error=error,
        code=code,
    )
    return _warn_if_paused(chat, receipt)


async def pause(registry: ChatRegistry, chat: LiveChat, *, by: str, resume_after_s: float) -> Receipt:
    """Silences EVI, and sees to it that it speaks again after `resume_after_s` seconds (0: not by itself).

    Raises:
        NotSent, MaybeSent: As `LiveChat.send`. After `MaybeSent` the timer runs all the same.
    """
    try:
        receipt = await chat.send(PauseAssistantMessage(), by=by)
    except MaybeSent:
        _paused(registry, chat, resume_after_s)
        raise
    _paused(registry, chat, resume_after_s)
    return receipt


async def resume(chat: LiveChat, *, by: str) -> Receipt:
    """Lets EVI speak again.

    Raises:
        NotSent, MaybeSent: As `LiveChat.send`. After them the timer of the pause goes on.
    """
    receipt = await chat.send(ResumeAssistantMessage(), by=by)
    chat.call_off_dead_man()
    chat.record.paused = False
    return receipt


def refuse_if_user_spoke(registry: ChatRegistry, chat: LiveChat, cursor: str | None) -> None:
    """Raises `UserSpoke` if a final spoken message came after the cursor; `None` never refuses."""
    if cursor is None:
        return
    position = registry.cursors.read(cursor)
    said = [event.text or "" for event in chat.record.log.after(position.seq) if _is_final_speech(event)]
    if said:
        raise UserSpoke(" ".join(said), registry.cursors.at(registry.cursors.last_seq))
    if _cannot_tell(chat, position):
        raise InvalidArgument(
            "nothing was sent: unless_user_spoke_after is too old to tell what was said since;"
            " read_events gives a cursor that is not."
        )


def _paused(registry: ChatRegistry, chat: LiveChat, resume_after_s: float) -> None:
    chat.call_off_dead_man()
    chat.record.paused = True
    if resume_after_s > 0:
        chat.dead_man = anyio.CancelScope()
        registry.start(_resume_later, chat, chat.dead_man, resume_after_s)


async def _resume_later(chat: LiveChat, scope: anyio.CancelScope, after_s: float) -> None:
    """The dead-man timer. It tries until a resume is written for sure: a second one does no harm, none at all does."""
    with scope:
        await anyio.sleep(after_s)
        while not chat.over:
            try:
                await chat.send(ResumeAssistantMessage(), by=DEAD_MAN)
            except (NotSent, MaybeSent):
                await anyio.sleep(0.1)
                continue
            chat.dead_man = None
            chat.record.paused = False
            return


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


def _warn_if_paused(chat: LiveChat, receipt: Receipt) -> Receipt:
    if not chat.record.paused:
        return receipt
    warning = "the chat is paused by this server, and EVI uses no tools while it is; call resume"
    return Receipt(
        receipt.chat_id, receipt.command, receipt.seq, receipt.cursor_seq, receipt.confirmed_by, warning=warning
    )


def _cannot_tell(chat: LiveChat, position: Position) -> bool:
    return position.foreign or chat.record.log.dropped_seq > position.seq


def _is_final_speech(event: Event) -> bool:
    return event.type == "user_message" and not event.interim and not event.from_text


def _begins(sent: str, got: str | None) -> bool:
    words = (got or "").split()
    return bool(words) and sent.split()[: len(words)] == words
