"""Chats and their events as `GET /v0/evi/chats` and `GET /v0/evi/chats/{id}` show them.

Shapes: Hume's OpenAPI reference, with times in milliseconds as in every sample. Events have ids here and no audio;
pauses, which no socket shows, are among them.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar
from uuid import NAMESPACE_URL, uuid5

from pydantic import BaseModel, ConfigDict, Field

from evi_mcp.hub.chat import HubChat
from evi_mcp.hub.event_types import EVENT_TYPES
from evi_mcp.hub.history import Entry

_Item = TypeVar("_Item")
_START, _END = "start", "end"


class Paging(BaseModel):
    """The query that both calls take."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    page_number: Annotated[int, Field(ge=0)] = 0
    page_size: Annotated[int, Field(ge=1, le=100)] = 10
    ascending_order: bool = True


class ChatsQuery(Paging):
    """The query of the list: only chats of this status, and of this config."""

    status: str | None = None
    config_id: str | None = None


def chats_page(chats: Iterable[HubChat], query: ChatsQuery) -> dict[str, Any]:
    """A page of chats; they are given oldest first."""
    found = [
        chat
        for chat in chats
        if query.status in (None, chat.status) and query.config_id in (None, chat.facts.config_id)
    ]
    return _page(found, query, "chats_page", _chat)


def chat_page(chat: HubChat, query: Paging) -> dict[str, Any]:
    """A chat with a page of its events."""
    entries: list[Entry | str] = [_START, *(entry for entry in chat.history if entry.is_event)]
    if chat.ending is not None:
        entries.append(_END)
    spoken = {
        entry.message_id: entry.number
        for entry in chat.history
        if entry.type == "assistant_message" and entry.message_id is not None
    }
    return {**_chat(chat), **_page(entries, query, "events_page", lambda entry: _event(chat, entry, spoken))}


def _page(items: Sequence[_Item], query: Paging, name: str, shape: Callable[[_Item], Any]) -> dict[str, Any]:
    ordered = items if query.ascending_order else items[::-1]
    start = query.page_number * query.page_size
    return {
        "page_number": query.page_number,
        "page_size": query.page_size,
        "total_pages": -(-len(items) // query.page_size),
        "pagination_direction": "ASC" if query.ascending_order else "DESC",
        name: [shape(item) for item in ordered[start : start + query.page_size]],
    }


def _chat(chat: HubChat) -> dict[str, Any]:
    facts = chat.facts
    return {
        "id": chat.chat_id,
        "chat_group_id": facts.chat_group_id,
        "status": chat.status,
        "start_timestamp": chat.started_ms,
        "end_timestamp": chat.ended_ms,
        "event_count": chat.history.event_count + 1 + (chat.ending is not None),
        "metadata": facts.metadata if isinstance(facts.metadata, str | None) else json.dumps(facts.metadata),
        "config": None if facts.config_id is None else {"id": facts.config_id, "version": 0},
    }


def _event(chat: HubChat, entry: Entry | str, spoken: Mapping[str, int]) -> dict[str, Any]:
    empty = dict.fromkeys(("message_text", "emotion_features", "metadata", "related_event_id"))
    if isinstance(entry, str):
        kind, at_ms = (
            ("CHAT_START_MESSAGE", chat.started_ms) if entry == _START else ("CHAT_END_MESSAGE", chat.ended_ms)
        )
        return {**_identity(chat, entry), "timestamp": at_ms, "role": "SYSTEM", "type": kind, **empty}
    kind, role = EVENT_TYPES[entry.type]
    details = _details(json.loads(entry.frame))
    if entry.type == "assistant_prosody" and (number := spoken.get(entry.message_id or "")) is not None:
        details["related_event_id"] = _identity(chat, number)["id"]
    return {**_identity(chat, entry.number), "timestamp": entry.at_ms, "role": role, "type": kind, **empty, **details}


def _identity(chat: HubChat, what: int | str) -> dict[str, str]:
    return {"id": str(uuid5(NAMESPACE_URL, f"{chat.chat_id}/{what}")), "chat_id": chat.chat_id}


def _details(message: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an event that depend on its content; those of a tool and of settings are JSON in `metadata`.

    A bot may have sent any shape.
    """
    details: dict[str, Any] = {}
    said, models = message.get("message"), message.get("models")
    if isinstance(said, dict) and isinstance(said.get("content"), str):
        details["message_text"] = said["content"]
    prosody = models.get("prosody") if isinstance(models, dict) else None
    if isinstance(prosody, dict) and isinstance(prosody.get("scores"), dict):
        details["emotion_features"] = json.dumps(prosody["scores"])
    if message["type"] in ("tool_call", "tool_response", "tool_error", "session_settings"):
        details["metadata"] = json.dumps({name: value for name, value in message.items() if name != "type"})
    elif "time" in message:
        details["metadata"] = json.dumps({"time": message["time"]})
    return details
