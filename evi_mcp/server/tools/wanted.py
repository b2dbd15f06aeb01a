"""What a reader asks for, checked against the chats that it may see: types of events, and triggers."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeGuard

from evi_mcp.chat import names
from evi_mcp.chat.triggers import OnEvent, OnExpression, Trigger
from evi_mcp.errors import InvalidArgument
from evi_mcp.quoting import meant, name
from evi_mcp.supervision.desk import Desk
from evi_mcp.supervision.live_chat import LiveChat


class TypesShown(NamedTuple):
    """The types of events that are meant, and those among them that no chat has given so far."""

    meant: list[str]
    never_came: list[str]


def checked_types(types: Sequence[str], desk: Desk) -> TypesShown:
    """The types to show; those that a chat has given are known as they are shown. Beside one that exists, others may be
    yet to come: a service may have types of its own.

    Raises:
        InvalidArgument: None of them exists, or one is `chat_ended`, which is no event.
    """
    found = _types(types, desk)
    if found.never_came and (names.CHAT_ENDED in types or len(found.never_came) == len(types)):
        names.check_types(found.never_came, _given(desk))
    return found


def _types(types: Sequence[str], desk: Desk) -> TypesShown:
    if all(kind in names.EVENT_TYPES for kind in types):
        return TypesShown(list(types), [])
    given = _given(desk)
    wanted = [meant(kind, given) for kind in types]
    return TypesShown(wanted, [kind for kind in wanted if kind not in names.EVENT_TYPES and kind not in given])


def _given(desk: Desk) -> set[str]:
    return {event.type for chat in desk.chats() for event in chat.record.log}


def checked(triggers: Sequence[Trigger], desk: Desk, chats: Sequence[LiveChat] | None) -> tuple[Trigger, ...]:
    """The triggers, with their chats by full id.

    Args:
        chats: The chats of the wait; `None` for all.

    Raises:
        InvalidArgument: A type or a score does not exist, or a trigger is about a chat that the wait is not.
        InvalidChatId, ChatNotAllowed, ChatNotAttached: A chat that a trigger names cannot be had.
    """
    records = [chat.record for chat in desk.chats()]
    names.check_scores((trigger.score for trigger in triggers if isinstance(trigger, OnExpression)), records)
    return tuple(_in_its_chat(_of_known_types(trigger, desk), desk, chats) for trigger in triggers)


def _of_known_types(trigger: Trigger, desk: Desk) -> Trigger:
    if not isinstance(trigger, OnEvent):
        return trigger
    found = _types(trigger.types, desk)
    names.check_types(found.never_came, _given(desk))
    return replace(trigger, types=tuple(found.meant))


def _in_its_chat(trigger: Trigger, desk: Desk, chats: Sequence[LiveChat] | None) -> Trigger:
    if not trigger.chat_id:
        return trigger
    chat = desk.chat(trigger.chat_id)
    if chats is not None and chat not in chats:
        raise InvalidArgument(
            f"a trigger is about the chat {name(chat.chat_id, 128)}, which is not among chat_ids, so it could never be"
            " met; add the chat there, or leave chat_ids out."
        )
    return replace(trigger, chat_id=chat.chat_id)


def is_hopeless(trigger: Trigger, chats: Iterable[LiveChat]) -> TypeGuard[OnExpression]:
    """Whether it is a score that none of the chats gives."""
    return isinstance(trigger, OnExpression) and all(trigger.is_hopeless(chat.record) for chat in chats)
