"""Ending a call, and handing it on: what EVI has no command for, and other services may have."""

from evi_mcp.access.callers import Caller
from evi_mcp.protocol.call_commands import EndChat, TransferChat
from evi_mcp.supervision.effects import Acknowledged
from evi_mcp.supervision.intents import Intent, Receipt
from evi_mcp.supervision.live_chat import LiveChat

WAIT_FOR_EFFECT_S = 10.0
"""How long it waits for the service's word, or for the end of the chat."""


async def end_chat(chat: LiveChat, *, by: Caller) -> Receipt:
    """Ends the call for everybody on it. Proven by a `command_result`, or by the end of the chat.

    Raises:
        NotSupported, NotSent, MaybeSent: As `Sending.send`.
    """
    return await _send(chat, EndChat.of(), None, by)


async def transfer_chat(chat: LiveChat, target_uri: str, *, by: Caller) -> Receipt:
    """Hands the call on to an address such as `tel:+14155550123`, and ends the chat. Proven as `end_chat`.

    Raises:
        InvalidCommand: It is no such address.
        NotSupported, NotSent, MaybeSent: As `Sending.send`.
    """
    return await _send(chat, TransferChat.of(target_uri=target_uri), target_uri, by)


async def _send(chat: LiveChat, command: EndChat | TransferChat, text: str | None, by: Caller) -> Receipt:
    effect = Acknowledged(command)
    return await chat.send(
        Intent(command=command, by=by, effect=effect, wait_for_effect_s=WAIT_FOR_EFFECT_S, facts={"text": text})
    )
