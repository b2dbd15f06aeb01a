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
from evi_mcp.server.schemas import plain
from evi_mcp.supervision.desk import Desk
from evi_mcp.supervision.intents import Receipt
from evi_mcp.times import iso
from evi_mcp.views import shapes
from evi_mcp.views import text as views_text

ToolContext = Context[Seat]

INSTEAD_OF_TEXT = "The result is in structuredContent."
"""The text of a result where a client shows its structure."""

# Over HTTP clients of 2026-07-28 repeat it in the header Mcp-Param-Chat-Id, where proxies can read it.
ChatId = Annotated[str, Field(json_schema_extra={"x-mcp-header": "Chat-Id"})]
"""What it is stands in the instructions, once for all tools."""
WaitForEffect = Annotated[float, Field(ge=0, le=30, description="Seconds to wait for its effect.")]
Types = Annotated[list[str], Field(description="Event types, such as tool_call.")]
Limit = Annotated[int, Field(ge=1, le=200, description="Most events.")]
MaxChars = Annotated[int, Field(ge=500, le=50_000, description="Most characters.")]


@dataclass(frozen=True)
class ToolSpec:
    """A row of the table. `run` is the function; its docstring is the description that agents read. `title` is for the
    docs: to a model it would say the same as the name."""

    run: Callable[..., Any]
    title: str
    access: Access
    read_only: bool = True
    idempotent: bool = True
    destructive: bool = False
    command: str | None = None
    """A command that EVI has not; the tool is listed where some chat may take it. `None`: it is listed everywhere."""

    @property
    def name(self) -> str:
        """The name under which it is called."""
        return self.run.__name__

    @property
    def annotations(self) -> types.ToolAnnotations:
        """The hints that mean something and are not the protocol's defaults, and always whether what acts destroys."""
        if self.read_only:
            return types.ToolAnnotations(read_only_hint=True)
        return types.ToolAnnotations(destructive_hint=self.destructive, idempotent_hint=self.idempotent or None)

    def tool(self, *, with_output_schema: bool = False, with_headers: bool = False) -> Tool:
        """What the SDK makes of the row, with plain schemas. It is one object for all servers: making the schemas
        takes several milliseconds, and nobody changes them."""
        return _tool(self, with_output_schema, with_headers)

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema by which its arguments are read: the published one, with bounds."""
        return _schema(self)


@cache
def _tool(spec: ToolSpec, with_output_schema: bool, with_headers: bool) -> Tool:
    made = Tool.from_function(
        spec.run,
        description=" ".join((spec.run.__doc__ or "").split()),
        annotations=spec.annotations,
        structured_output=with_output_schema,
    )
    return made.model_copy(update={"parameters": plain(made.parameters, with_headers=with_headers)})


@cache
def _schema(spec: ToolSpec) -> dict[str, Any]:
    return plain(spec.tool().fn_metadata.arg_model.model_json_schema(), to_read=True)


def desk_of(ctx: ToolContext) -> Desk:
    """The desk of whoever calls."""
    return current_desk()


def wants_progress(ctx: ToolContext) -> bool:
    """Whether the client asked for signs of life."""
    return "progress_token" in (ctx.request_context.meta or {})


def result(ctx: ToolContext, text: str, structure: Mapping[str, Any]) -> types.CallToolResult:
    """A result in the form that the settings ask for (EVI_MCP_RESULTS): text, structure, or both; it notes what was
    attached for it."""
    text, structure = _with_note(text, structure)
    results = ctx.request_context.lifespan_context.service.settings.results
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=INSTEAD_OF_TEXT if results == "structured" else text)],
        structured_content=None if results == "text" else dict(structure),
    )


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
