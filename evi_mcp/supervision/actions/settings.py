"""Changing the settings of the running chat: its prompt, context, variables, voice and tools."""

from evi_mcp.access.callers import Caller
from evi_mcp.protocol.commands import SessionSettings
from evi_mcp.supervision.effects import ShownBack
from evi_mcp.supervision.intents import Intent, Receipt
from evi_mcp.supervision.live_chat import LiveChat

WAIT_FOR_EFFECT_S = 2.0


async def update_session_settings(chat: LiveChat, command: SessionSettings, *, by: Caller) -> Receipt:
    """Sends the settings. Proven by a `session_settings` that shows all of them, for which it waits 2 s.

    Whether EVI shows settings to the client that sent them is not documented.

    Raises:
        InvalidCommand, NotSent, MaybeSent: As `Sending.send`.
    """
    intent = Intent(
        command=command,
        by=by,
        effect=ShownBack.of(command),
        wait_for_effect_s=WAIT_FOR_EFFECT_S,
        facts={"settings": command.shown},
    )
    return await chat.send(intent)
