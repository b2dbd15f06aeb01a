"""Chats and their events as `GET /v0/evi/chats` and `GET /v0/evi/chats/{id}` show them.

Shapes: Hume's OpenAPI reference, with times in milliseconds as in every sample. Events have ids here and
no audio; pauses, which no socket shows, are among them.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar
from uuid import NAMESPACE_URL, uuid5

from pydantic import BaseModel, ConfigDict, Field

from evi_mcp.simulator.engine import ChatEngine
from evi_mcp.simulator.recording import Record

_Item = TypeVar("_Item")

_CONTENT: Mapping[str, tuple[str, str]] = {  # type on the socket: type and role over REST
    "user_message": ("USER_MESSAGE", "USER"),
    "assistant_message": ("AGENT_MESSAGE", "AGENT"),
    "assistant_prosody": ("ASSISTANT_PROSODY", "AGENT"),
    "user_interruption": ("USER_INTERRUPTION", "USER"),
    "tool_call": ("FUNCTION_CALL", "AGENT"),
    "tool_response": ("FUNCTION_CALL_RESPONSE", "TOOL"),
    "tool_error": ("FUNCTION_CALL_RESPONSE", "TOOL"),
    "session_settings": ("SESSION_SETTINGS", "SYSTEM"),
    "pause_assistant_message": ("PAUSE_ONSET", "SYSTEM"),
    "resume_assistant_message": ("RESUME_ONSET", "SYSTEM"),
}


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


def chats_page(chats: Iterable[ChatEngine], query: ChatsQuery) -> dict[str, Any]:
    """A page of chats; they are given oldest first."""
    found = [
        chat
        for chat in chats
        if query.status in (None, chat.status) and query.config_id in (None, str(chat.opening.config_id))
    ]
    return _page(found, query, "chats_page", _chat)


def chat_page(chat: ChatEngine, query: Paging) -> dict[str, Any]:
    """A chat with a page of its events."""
    return {**_chat(chat), **_page(_events(chat), query, "events_page", lambda event: event)}


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


def _chat(chat: ChatEngine) -> dict[str, Any]:
    config = chat.opening.config_id
    return {
        "id": chat.opening.chat_id,
        "chat_group_id": chat.opening.chat_group_id,
        "status": chat.status,
        "start_timestamp": chat.started_ms,
        "end_timestamp": chat.ended_ms,
        "event_count": sum(map(_is_event, chat.recording)) + 1 + (chat.ended is not None),
        "metadata": None,
        "config": None if config is None else {"id": str(config), "version": 0},
    }


def _is_event(record: Record) -> bool:
    return record.type in _CONTENT and not record.text.endswith('"interim":true}')


def _events(chat: ChatEngine) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    message_events: dict[str, str] = {}

    def add(kind: str, role: str, at_ms: int, **fields: Any) -> str:
        chat_id = chat.opening.chat_id
        event_id = str(uuid5(NAMESPACE_URL, f"{chat_id}/{len(events)}"))
        event = {"id": event_id, "chat_id": chat_id, "timestamp": at_ms, "role": role, "type": kind}
        empty = dict.fromkeys(("message_text", "emotion_features", "metadata", "related_event_id"))
        events.append({**event, **empty, **fields})
        return event_id

    add("CHAT_START_MESSAGE", "SYSTEM", chat.started_ms)
    for record in filter(_is_event, chat.recording):
        kind, role = _CONTENT[record.type]
        frame = json.loads(record.text)
        event_id = add(kind, role, record.at_ms, **_details(frame, message_events))
        if record.type == "assistant_message":
            message_events[frame["id"]] = event_id
    if chat.ended_ms is not None:
        add("CHAT_END_MESSAGE", "SYSTEM", chat.ended_ms)
    return events


def _details(frame: Mapping[str, Any], message_events: Mapping[str, str]) -> dict[str, Any]:
    """The fields of an event that depend on its content; those of a tool and of settings are JSON in `metadata`."""
    details: dict[str, Any] = {}
    if message := frame.get("message"):
        details["message_text"] = message["content"]
    if prosody := frame.get("models", {}).get("prosody"):
        details["emotion_features"] = json.dumps(prosody["scores"])
    if frame["type"] == "assistant_prosody":
        details["related_event_id"] = message_events.get(frame["id"])
    if frame["type"] in ("tool_call", "tool_response", "tool_error", "session_settings"):
        details["metadata"] = json.dumps({name: value for name, value in frame.items() if name != "type"})
    elif "time" in frame:
        details["metadata"] = json.dumps({"time": frame["time"]})
    return details
