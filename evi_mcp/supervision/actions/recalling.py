"""Asking what was said before the attach, of a service that gives no history: its model may tell, in its own words."""

from evi_mcp.access.callers import Caller
from evi_mcp.protocol.call_commands import AskForRecap
from evi_mcp.supervision.effects import Recalled
from evi_mcp.supervision.intents import Intent, Receipt
from evi_mcp.supervision.live_chat import LiveChat

WAIT_FOR_EFFECT_S = 10.0
"""How long the model may take; its account is logged also if it takes longer."""


async def recap(chat: LiveChat, *, by: Caller) -> Receipt:
    """Asks for the model's own account, which costs tokens and is heard by nobody. Proven by a `recap` in the log.

    Raises:
        NotSupported, NotSent, MaybeSent: As `Sending.send`.
    """
    intent = Intent(command=AskForRecap.of(), by=by, effect=Recalled(), wait_for_effect_s=WAIT_FOR_EFFECT_S)
    return await chat.send(intent)
