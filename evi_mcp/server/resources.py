"""The `evi://` resources: the same views as the tools, for clients that read, list and subscribe."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import mcp_types as types
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError
from mcp.shared.exceptions import MCPError

from evi_mcp import uris
from evi_mcp.chat.pages import Filter, read_page
from evi_mcp.errors import ChatNotAllowed, ChatNotAttached, EviMcpError, InvalidChatId
from evi_mcp.ledger.cursors import EARLIEST
from evi_mcp.quoting import visible
from evi_mcp.server.callers import Seat, current_desk
from evi_mcp.supervision.desk import Desk
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.views import markdown, structure, text
from evi_mcp.views.rendering import Rendering

_JSON, _MARKDOWN = "application/json", "text/markdown"
_VIEWS = {
    "": ("Chat", _JSON, "State of an attached chat, its pending tool calls and last turns."),
    uris.EVENTS: ("Recent events", _JSON, "The stream of a chat's recent events; `after` takes a cursor."),
    uris.TRANSCRIPT: ("Transcript", _MARKDOWN, "What was said, turn by turn."),
    uris.TOOL_CALLS: ("Tool calls", _JSON, "All tool calls of the chat."),
}
_Reader = TypeVar("_Reader", bound=Callable[..., Any])
_EVENTS, _MAX_EVENTS, _MAX_CHARS = 50, 200, 50_000
_MAX_TURNS = 2000


def list_resources(desk: Desk) -> list[types.Resource]:
    """The concrete resources: the list of chats, and the views of each that is attached."""
    listed = [
        types.Resource(uri=uris.CHATS, name="chats", title="Chats", description="All attached chats.", mime_type=_JSON)
    ]
    for chat in desk.chats():
        for view, (title, mime_type, description) in _VIEWS.items():
            listed.append(
                types.Resource(
                    uri=uris.chat(chat.chat_id, view),
                    name=f"chat-{chat.chat_id}{'-' + view if view else ''}",
                    title=f"{title}: {chat.chat_id}",
                    description=description,
                    mime_type=mime_type,
                )
            )
    return listed


def register(server: MCPServer[Seat]) -> None:
    """Registers the list of chats, and the templates of the views of a chat, with the server."""

    @server.resource(uris.CHATS, name="chats", title="Chats", mime_type=_JSON)
    async def chats() -> str:
        """All attached chats."""
        desk = current_desk()
        elapsed = desk.clock.elapsed()
        return _json({"chats": [structure.summary(chat.record, desk.cursors, elapsed) for chat in desk.chats()]})

    def template(view: str, uri: str) -> Callable[[_Reader], _Reader]:
        title, mime_type, description = _VIEWS[view]
        return server.resource(
            uri, name=f"chat{'-' + view if view else ''}", title=title, mime_type=mime_type, description=description
        )

    @template("", uris.CHAT_TEMPLATE)
    async def chat(chat_id: str) -> str:
        desk = current_desk()
        return _json(structure.chat(_find(chat_id).record, desk.cursors, desk.clock.elapsed()))

    @template(uris.EVENTS, uris.EVENTS_TEMPLATE)
    async def events(chat_id: str, after: str = "", limit: str = str(_EVENTS)) -> str:
        desk, live = current_desk(), _find(chat_id)
        record = live.record
        if not (limit.isascii() and limit.isdecimal()) or not 1 <= int(limit[:9]) <= _MAX_EVENTS:
            raise MCPError(types.INVALID_PARAMS, f"limit must be a number from 1 to {_MAX_EVENTS}.")
        try:
            position = desk.position(after or EARLIEST)
        except EviMcpError as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from error
        rendering, wanted = (
            Rendering(with_chat_id=False, records=[record]),
            Filter(reader=desk.caller.signature),
        )
        if not after:
            seq = rendering.before_the_newest(reversed(record.log), wanted, int(limit), _MAX_CHARS)
            position = position._replace(seq=seq)
        page = read_page(
            [record],
            desk.start(position, [live]),
            wanted,
            limit=int(limit),
            max_chars=_MAX_CHARS,
            length=rendering.length,
        )
        if len(page.events) == 1:  # the one event that may be larger than a page
            rendering.fit(page.events[0], _MAX_CHARS)
        cursor = desk.cursor(page.seq, [live], wide=False)
        return _json(structure.page(page, rendering.structures(page.events), [record], cursor))

    @template(uris.TRANSCRIPT, uris.TRANSCRIPT_TEMPLATE)
    async def transcript(chat_id: str) -> str:
        record = _find(chat_id).record
        shown = text.transcript_within(record, current_desk().cursors, _MAX_TURNS, _MAX_CHARS)
        return markdown.transcript(record.chat_id, shown)

    @template(uris.TOOL_CALLS, uris.TOOL_CALLS_TEMPLATE)
    async def tool_calls(chat_id: str) -> str:
        calls = list(_find(chat_id).record.tool_calls)
        return _json(structure.tool_calls(calls, current_desk().clock.elapsed(), with_chat_id=False))


def _find(chat_id: str) -> LiveChat:
    try:
        return current_desk().chat(chat_id)
    except (InvalidChatId, ChatNotAllowed, ChatNotAttached) as error:
        raise ResourceNotFoundError(str(error)) from error


def _json(value: Mapping[str, Any]) -> str:
    """JSON text. What is invisible in it is escaped before, since a reader undoes the escapes of JSON itself."""
    return json.dumps(visible(value), ensure_ascii=False, separators=(",", ":"))
