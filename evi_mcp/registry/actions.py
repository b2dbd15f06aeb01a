"""What agents do to a chat: each command with its conditions, and with the event that proves its effect.

What EVI shows of a command is documented for few of them: `user_input` and `assistant_input` come back as
messages with `from_text`; a tool answer is not sent back to its sender, but EVI goes on; a pause and a resume
leave no trace.
"""

import time
from dataclasses import replace

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
from evi_mcp.registry.live_chat import Effect, LiveChat, Receipt, Verdict
from evi_mcp.registry.registry import ChatRegistry

DEAD_MAN = "the timer of pause"

_ANSWERS = ("tool_response", "tool_error")


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

    position = registry.cursors.read(unless_user_spoke_after) if unless_user_spoke_after else None
    receipt = await chat.send(
        command,
        by=by,
        effect=_heard_as_user(command) if isinstance(command, UserInput) else _spoken_by_evi(command),
        wait_for_effect_s=wait_s,
        guard=lambda: refuse_if_user_spoke(registry, chat, position),
        text=command.text,
    )
    return _warn_if_paused(chat, receipt) if isinstance(command, UserInput) else receipt


def _heard_as_user(command: UserInput) -> Effect:
    words = command.text.split()

    def effect(event: Event, claimed: bool) -> Verdict | None:
        heard = not claimed and event.type == "user_message" and event.from_text and (event.text or "").split() == words
        return Verdict.PROOF if heard else None

    return effect


def _spoken_by_evi(command: AssistantInput) -> Effect:
    """EVI may split a long text (not documented): the last part of it is the proof."""
    left = command.text.split()

    def effect(event: Event, claimed: bool) -> Verdict | None:
        nonlocal left
        words = (event.text or "").split()
        spoken = event.type == "assistant_message" and event.from_text and not claimed
        if not spoken or not words or left[: len(words)] != words:
            return None
        left = left[len(words) :]
        return Verdict.PART if left else Verdict.PROOF

    return effect


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

    claimed_at = 0

    def claim() -> None:
        nonlocal claimed_at
        claimed_at = chat.record.log.last.seq if chat.record.log.last else 0
        _open_call(chat, tool_call_id).close(Status.FAILED if is_error else Status.ANSWERED, by, time.time())

    try:
        receipt = await chat.send(
            command,
            by=by,
            effect=_taken_by_evi(command),
            wait_for_effect_s=wait_s,
            guard=claim,
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
            call.reopen(by)
        raise
    return _warn_if_paused(chat, receipt)


def _taken_by_evi(command: ToolResponse | ToolError) -> Effect:
    """Proof is our answer, mirrored, or EVI going on: with words or another call, unless the user has spoken since.

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
        goes_on = (spoke or event.type == "tool_call") and not (event.replayed or moved_on or claimed)
        return Verdict.PROOF if goes_on else None

    return effect


def _alike(logged: str | None, sent: str | None) -> bool:
    return (logged or "")[:1000] == (sent or "")[:1000]  # the log keeps very long texts in part only


async def pause(registry: ChatRegistry, chat: LiveChat, *, by: str, resume_after_s: float) -> Receipt:
    """Silences EVI, and sees to it that it speaks again after `resume_after_s` seconds (0: not by itself).

    Raises:
        NotSent, MaybeSent: As `LiveChat.send`. After `MaybeSent` the timer runs all the same.
    """
    # Together with the write, so that whatever comes in between finds the pause and its timer in place.
    receipt = await chat.send(PauseAssistantMessage(), by=by, guard=lambda: _note_pause(registry, chat, resume_after_s))
    return replace(receipt, resumes_at=chat.record.resumes_at)


async def resume(registry: ChatRegistry, chat: LiveChat, *, by: str) -> Receipt:
    """Lets EVI speak again.

    Raises:
        NotSent, MaybeSent: As `LiveChat.send`. After them the timer of the pause goes on.
    """
    was_paused, left = False, 0.0

    def note() -> None:
        nonlocal was_paused, left
        was_paused = chat.record.paused
        if chat.record.resumes_at is not None:
            left = max(1.0, chat.record.resumes_at - time.time())
        _note_resume(chat)

    try:
        return await chat.send(ResumeAssistantMessage(), by=by, guard=note)
    except MaybeSent:
        if was_paused and not chat.record.paused:
            _note_pause(registry, chat, left)
        raise


def refuse_if_user_spoke(registry: ChatRegistry, chat: LiveChat, position: Position | None) -> None:
    """Raises `UserSpoke` if a final spoken message came after the position; `None` never refuses."""
    if position is None:
        return
    said = [event.text or "" for event in chat.record.log.after(position.seq) if _is_final_speech(event)]
    if said:
        raise UserSpoke(" ".join(said), registry.cursors.at(registry.cursors.last_seq))
    if _cannot_tell(chat, position):
        raise InvalidArgument(
            "nothing was sent: unless_user_spoke_after is too old to tell what was said since;"
            " read_events gives a cursor that is not."
        )


def _note_pause(registry: ChatRegistry, chat: LiveChat, resume_after_s: float) -> None:
    _note_resume(chat)
    chat.record.paused = True
    if resume_after_s > 0:
        chat.record.resumes_at = time.time() + resume_after_s
        chat.dead_man = anyio.CancelScope()
        registry.start(_resume_later, chat, chat.dead_man, resume_after_s)


def _note_resume(chat: LiveChat) -> None:
    chat.call_off_dead_man()
    chat.record.paused = False


async def _resume_later(chat: LiveChat, scope: anyio.CancelScope, after_s: float) -> None:
    """The dead-man timer. It tries until a resume is written for sure: a second one does no harm, none at all does."""

    def still_mine() -> None:
        if chat.dead_man is not scope:
            raise NotSent("resume_assistant_message", "the pause it was meant to end is over")

    with scope:
        await anyio.sleep(after_s)
        while not chat.over and chat.dead_man is scope:
            try:
                await chat.send(ResumeAssistantMessage(), by=DEAD_MAN, guard=still_mine)
            except (NotSent, MaybeSent):
                await anyio.sleep(0.1)
                continue
            if chat.dead_man is scope:
                chat.dead_man = None
                chat.record.paused, chat.record.resumes_at = False, None


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
    return replace(
        receipt, warning="this server has paused the chat: EVI answers nobody and uses no tools until resume"
    )


def _cannot_tell(chat: LiveChat, position: Position) -> bool:
    return position.foreign or chat.record.log.dropped_seq > position.seq


def _is_final_speech(event: Event) -> bool:
    return event.type == "user_message" and not event.interim and not event.from_text
