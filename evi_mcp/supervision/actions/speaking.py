"""Saying something as the user or as EVI."""

from evi_mcp.chat.events import Event
from evi_mcp.errors import InvalidArgument, UserSpoke
from evi_mcp.ledger.log import Position
from evi_mcp.protocol.commands import AssistantInput, UserInput
from evi_mcp.supervision.actions.pausing import warn_if_paused
from evi_mcp.supervision.live_chat import Effect, LiveChat, Receipt, Verdict
from evi_mcp.supervision.registry import ChatRegistry


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
        terms={"unless_user_spoke_after": unless_user_spoke_after} if unless_user_spoke_after else None,
        text=command.text,
    )
    return warn_if_paused(chat, receipt) if isinstance(command, UserInput) else receipt


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


def _cannot_tell(chat: LiveChat, position: Position) -> bool:
    return position.foreign or chat.record.log.dropped_seq > position.seq


def _is_final_speech(event: Event) -> bool:
    return event.type == "user_message" and not event.interim and not event.from_text
