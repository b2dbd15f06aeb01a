"""Stepping in: speaking as the user or as EVI, a pause and its end, the end of a call, and handing it on."""

from typing import Annotated

import mcp_types as types
from pydantic import Field

from evi_mcp.access.callers import Access
from evi_mcp.protocol.commands import AssistantInput, UserInput
from evi_mcp.server.tools.spec import (
    ChatId,
    ToolContext,
    ToolSpec,
    WaitForEffect,
    desk_of,
    receipt,
    receipt_of,
    result,
)
from evi_mcp.supervision.actions.barging import BargeIn
from evi_mcp.times import iso
from evi_mcp.views import shapes, steps

UnlessUserSpoke = Annotated[str, Field(description="A cursor: refused if the user has spoken since.")]


async def send_user_input(
    ctx: ToolContext,
    chat_id: ChatId,
    text: Annotated[str, Field(description="The user's words.")],
    unless_user_spoke_after: UnlessUserSpoke = "",
    wait_for_effect_s: WaitForEffect = 2,
) -> Annotated[types.CallToolResult, shapes.Receipt]:
    """Say something to EVI as if the user had; EVI answers aloud."""
    return await _speak(ctx, chat_id, UserInput.of(text=text), unless_user_spoke_after, wait_for_effect_s)


async def send_assistant_input(
    ctx: ToolContext,
    chat_id: ChatId,
    text: Annotated[str, Field(description="Spoken word for word.")],
    unless_user_spoke_after: UnlessUserSpoke = "",
    wait_for_effect_s: WaitForEffect = 2,
) -> Annotated[types.CallToolResult, shapes.Receipt]:
    """Have EVI speak this text to the person on the line."""
    return await _speak(ctx, chat_id, AssistantInput.of(text=text), unless_user_spoke_after, wait_for_effect_s)


async def _speak(
    ctx: ToolContext, chat_id: str, command: UserInput | AssistantInput, unless_user_spoke_after: str, wait_s: float
) -> types.CallToolResult:
    done = await desk_of(ctx).speak(chat_id, command, unless_user_spoke_after=unless_user_spoke_after, wait_s=wait_s)
    return receipt(ctx, done)


async def barge_in(
    ctx: ToolContext,
    chat_id: ChatId,
    text: Annotated[str, Field(description="Spoken word for word.")],
    unless_user_spoke_after: UnlessUserSpoke = "",
    resume_when_spoken: Annotated[bool, Field(description="Else EVI stays silent until `resume`.")] = True,
    resume_after_s: Annotated[
        float, Field(ge=1, le=300, description="Seconds after which EVI resumes in any case.")
    ] = 30,
) -> Annotated[types.CallToolResult, steps.BargeIn]:
    """Step in: silence EVI, have it speak this text, let it go on."""
    done = await desk_of(ctx).barge_in(
        chat_id,
        AssistantInput.of(text=text),
        unless_user_spoke_after=unless_user_spoke_after,
        resume=resume_when_spoken,
        limit_s=resume_after_s,
    )
    shown = steps.barge_in(receipt_of(done.line), _steps(done))
    return result(ctx, steps.barge_in_text(shown), shown)


def _steps(done: BargeIn) -> steps.Steps:
    """What a barge-in did to EVI's silence, as it is shown."""
    taken: steps.Steps = {}
    if done.paused is not None:
        taken["paused"] = {"seq": done.paused.seq}
    if done.not_paused is not None:
        taken["not_paused"] = done.not_paused
    if done.resumed is not None:
        taken["resumed"] = {"seq": done.resumed.seq}
    if done.not_resumed is not None:
        taken["not_resumed"] = done.not_resumed
    if done.pause_s is not None:
        taken["pause_s"] = round(done.pause_s, 1)
    if done.resumes_at is not None:
        taken["resumes_at"] = iso(done.resumes_at)
    return taken


async def pause(
    ctx: ToolContext,
    chat_id: ChatId,
    resume_after_s: Annotated[
        float, Field(ge=0, le=1800, description="Seconds after which EVI resumes by itself; 0 for never.")
    ] = 300,
) -> Annotated[types.CallToolResult, shapes.Receipt]:
    """Silence EVI; it goes on listening."""
    return receipt(ctx, await desk_of(ctx).pause(chat_id, resume_after_s))


async def resume(ctx: ToolContext, chat_id: ChatId) -> Annotated[types.CallToolResult, shapes.Receipt]:
    """Let EVI speak again after a pause."""
    return receipt(ctx, await desk_of(ctx).resume(chat_id))


async def end_chat(ctx: ToolContext, chat_id: ChatId) -> Annotated[types.CallToolResult, shapes.Receipt]:
    """End the call, where the chat `supports` it."""
    return receipt(ctx, await desk_of(ctx).end_chat(chat_id))


async def transfer_chat(
    ctx: ToolContext,
    chat_id: ChatId,
    target_uri: Annotated[str, Field(description="A `tel:` or `sip:` address.")],
) -> Annotated[types.CallToolResult, shapes.Receipt]:
    """Hand the call on to another line."""
    return receipt(ctx, await desk_of(ctx).transfer_chat(chat_id, target_uri))


TOOLS = (
    ToolSpec(
        send_user_input, "Speak to EVI as the user", Access.BARGE, read_only=False, idempotent=False, destructive=True
    ),
    ToolSpec(send_assistant_input, "Have EVI speak", Access.BARGE, read_only=False, idempotent=False, destructive=True),
    ToolSpec(barge_in, "Barge in", Access.BARGE, read_only=False, idempotent=False, destructive=True),
    ToolSpec(pause, "Pause EVI", Access.BARGE, read_only=False, destructive=True),
    ToolSpec(resume, "Resume EVI", Access.BARGE, read_only=False),
    ToolSpec(
        end_chat,
        "End a call",
        Access.BARGE,
        read_only=False,
        idempotent=False,
        destructive=True,
        command="end_chat",
    ),
    ToolSpec(
        transfer_chat,
        "Transfer a call",
        Access.BARGE,
        read_only=False,
        idempotent=False,
        destructive=True,
        command="transfer_chat",
    ),
)
