"""What all tools share: how one is declared, its parameters' words, and how a result is made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import mcp_types as types
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.tools import Tool
from pydantic import Field

from evi_mcp.access.callers import Access
from evi_mcp.quoting import name
from evi_mcp.server.callers import Seat, current_desk
from evi_mcp.supervision.desk import Desk
from evi_mcp.supervision.intents import Receipt
from evi_mcp.times import iso
from evi_mcp.views import shapes
from evi_mcp.views import text as views_text

ToolContext = Context[Seat]

ChatId = Annotated[
    str,
    # Over HTTP clients of 2026-07-28 repeat it in the header Mcp-Param-Chat-Id, where proxies can read it.
    Field(
        description="EVI chat id, from `list_chats`; its first 8 characters do for an attached chat.",
        json_schema_extra={"x-mcp-header": "Chat-Id"},
    ),
]
WaitForEffect = Annotated[
    float, Field(ge=0, le=30, description="Seconds to wait for the effect to be seen; 0 returns once it is sent.")
]
Types = Annotated[
    list[str] | None,
    Field(
        description="Event types to show: user_message, assistant_message, assistant_end, user_interruption, tool_call,"
        " tool_response, tool_error, session_settings, error, chat_metadata, chat_state, command, or audio_output,"
        " assistant_prosody; omit for all but the last two and interim transcripts."
    ),
]
Limit = Annotated[int, Field(ge=1, le=200, description="Most events to return.")]
MaxChars = Annotated[int, Field(ge=500, le=50_000, description="Most characters of text to return.")]


@dataclass(frozen=True)
class ToolSpec:
    """A row of the table. `run` is the function; its docstring is the description that agents read."""

    run: Callable[..., Any]
    title: str
    access: Access
    read_only: bool = True
    idempotent: bool = True
    destructive: bool = False

    @property
    def name(self) -> str:
        """The name under which it is called."""
        return self.run.__name__

    @property
    def annotations(self) -> types.ToolAnnotations:
        """The hints, all of them explicit."""
        return types.ToolAnnotations(
            title=self.title,
            read_only_hint=self.read_only,
            destructive_hint=self.destructive,
            idempotent_hint=self.idempotent,
            open_world_hint=True,
        )

    def tool(self, *, structured: bool) -> Tool:
        """What the SDK makes of the row, with an output schema or without. It is one object for all servers: making
        the schemas takes several milliseconds, and nobody changes them."""
        return _tool(self, structured)


@cache
def _tool(spec: ToolSpec, structured: bool) -> Tool:
    return Tool.from_function(
        spec.run,
        title=spec.title,
        description=spec.run.__doc__,
        annotations=spec.annotations,
        structured_output=structured,
    )


def desk_of(ctx: ToolContext) -> Desk:
    """The desk of whoever calls."""
    return current_desk()


def wants_progress(ctx: ToolContext) -> bool:
    """Whether the client asked for signs of life."""
    return "progress_token" in (ctx.request_context.meta or {})


def result(ctx: ToolContext, text: str, structure: Mapping[str, Any]) -> types.CallToolResult:
    """Both forms of a result, or the text alone where the settings say so; with a note of what was attached for it."""
    text, structure = _with_note(text, structure)
    structured = (
        dict(structure) if ctx.request_context.lifespan_context.service.settings.results == "structured" else None
    )
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], structured_content=structured)


def _with_note(text: str, structure: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    if not (attached := current_desk().attached):
        return text, structure
    which = name(attached[0], 128) if len(attached) == 1 else views_text.counted(len(attached), "chat")
    note = f"{which} was not attached: attached for this call"
    told = f"{structure['note']}; {note}" if "note" in structure else note
    return f"{text}\nnote: {note}", {**structure, "note": told}


def receipt(ctx: ToolContext, done: Receipt) -> types.CallToolResult:
    """The result of any command."""
    shown = receipt_of(done)
    return result(ctx, views_text.receipt(shown), shown)


def receipt_of(done: Receipt) -> shapes.Receipt:
    """A receipt as it is shown."""
    shown: shapes.Receipt = {
        "chat_id": done.chat_id,
        "command": done.command,
        "seq": done.seq,
        "status": _status(done),
        "cursor": current_desk().cursors.at(done.cursor_seq, done.chat_id),
    }
    if done.confirmed_by is not None:
        shown["confirmed_by"] = done.confirmed_by
    if done.said is not None:
        shown["said"] = done.said
    if done.call_seq is not None:
        shown["call_seq"] = done.call_seq
    if done.resumes_at is not None:
        shown["resumes_at"] = iso(done.resumes_at)
    if done.warning is not None:
        shown["warning"] = done.warning
    return shown


def _status(done: Receipt) -> str:
    if done.said is not None:
        return "reworded"
    return "sent" if done.confirmed_by is None else "confirmed"
