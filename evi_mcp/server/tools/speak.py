"""Stepping in: speaking as the user or as EVI, a pause and its end, the end of a call, and handing it on."""

from typing import Annotated

import mcp_types as types
from pydantic import Field

from evi_mcp.access.callers import Access
from evi_mcp.protocol.commands import AssistantInput, UserInput
from evi_mcp.server.tools.spec import ChatId, ToolContext, ToolSpec, WaitForEffect, desk_of, receipt
from evi_mcp.views import shapes

UnlessUserSpoke = Annotated[
    str, Field(description="A cursor: refuse if the user has said anything after it, since it may no longer fit.")
]


async def send_user_input(
    ctx: ToolContext,
    chat_id: ChatId,
    text: Annotated[str, Field(description="What EVI is to take as said by the user.")],
    unless_user_spoke_after: UnlessUserSpoke = "",
    wait_for_effect_s: WaitForEffect = 2,
) -> Annotated[types.CallToolResult, shapes.Receipt]:
    """Say something to EVI as if the user had said it; EVI answers aloud, and the person on the line hears that."""
    return await _speak(ctx, chat_id, UserInput.of(text=text), unless_user_spoke_after, wait_for_effect_s)


async def send_assistant_input(
    ctx: ToolContext,
    chat_id: ChatId,
    text: Annotated[str, Field(description="What EVI is to speak, word for word.")],
    unless_user_spoke_after: UnlessUserSpoke = "",
    wait_for_effect_s: WaitForEffect = 2,
) -> Annotated[types.CallToolResult, shapes.Receipt]:
    """Have EVI speak this text aloud, word for word, to the person on the line."""
    return await _speak(ctx, chat_id, AssistantInput.of(text=text), unless_user_spoke_after, wait_for_effect_s)


async def _speak(
    ctx: ToolContext, chat_id: str, command: UserInput | AssistantInput, unless_user_spoke_after: str, wait_s: float
) -> types.CallToolResult:
    done = await desk_of(ctx).speak(
        chat_id, command, unless_user_spoke_after=unless_user_spoke_after or None, wait_s=wait_s
    )
    return receipt(ctx, done)


async def pause(
    ctx: ToolContext,
    chat_id: ChatId,
    resume_after_s: Annotated[
        float, Field(ge=0, le=1800, description="Seconds after which EVI is resumed by itself; 0 for never.")
    ] = 300,
) -> Annotated[types.CallToolResult, shapes.Receipt]:
    """Silence EVI; it goes on listening but neither speaks nor uses tools until `resume`."""
    return receipt(ctx, await desk_of(ctx).pause(chat_id, resume_after_s))


async def resume(ctx: ToolContext, chat_id: ChatId) -> Annotated[types.CallToolResult, shapes.Receipt]:
    """Let EVI speak again after a pause; it answers the last thing the user said."""
    return receipt(ctx, await desk_of(ctx).resume(chat_id))


async def end_chat(ctx: ToolContext, chat_id: ChatId) -> Annotated[types.CallToolResult, shapes.Receipt]:
    """End the call for the person on the line; only chats whose `supports` names `end_chat`, EVI's do not."""
    return receipt(ctx, await desk_of(ctx).end_chat(chat_id))


async def transfer_chat(
    ctx: ToolContext,
    chat_id: ChatId,
    target_uri: Annotated[str, Field(description="`tel:` and a number, or a `sip:` address.")],
) -> Annotated[types.CallToolResult, shapes.Receipt]:
    """Hand the call on to another line, which ends the chat; only chats whose `supports` names `transfer_chat`."""
    return receipt(ctx, await desk_of(ctx).transfer_chat(chat_id, target_uri))


TOOLS = (
    ToolSpec(
        send_user_input, "Speak to EVI as the user", Access.BARGE, read_only=False, idempotent=False, destructive=True
    ),
    ToolSpec(send_assistant_input, "Have EVI speak", Access.BARGE, read_only=False, idempotent=False, destructive=True),
    ToolSpec(pause, "Pause EVI", Access.BARGE, read_only=False, destructive=True),
    ToolSpec(resume, "Resume EVI", Access.BARGE, read_only=False),
    ToolSpec(end_chat, "End a call", Access.BARGE, read_only=False, idempotent=False, destructive=True),
    ToolSpec(transfer_chat, "Transfer a call", Access.BARGE, read_only=False, idempotent=False, destructive=True),
)
