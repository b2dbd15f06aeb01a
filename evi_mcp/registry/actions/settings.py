"""Changing the settings of the running chat: its prompt, context, variables, voice and tools."""

from collections.abc import Mapping
from typing import Any

from evi_mcp.chat.events import Event
from evi_mcp.protocol.commands import SessionSettings
from evi_mcp.registry.live_chat import Effect, LiveChat, Receipt, Verdict

WAIT_FOR_EFFECT_S = 2.0


async def update_session_settings(chat: LiveChat, command: SessionSettings, *, by: str) -> Receipt:
    """Sends the settings. Proven by a `session_settings` that shows them, for which it waits 2 s.

    Whether EVI shows settings to the client that sent them is not documented; what comes has its secrets redacted, so
    one secret cannot be told from another.

    Raises:
        InvalidCommand, NotSent, MaybeSent: As `LiveChat.send`.
    """
    shown = command.shown
    return await chat.send(
        command, by=by, effect=_shown_back(shown), wait_for_effect_s=WAIT_FOR_EFFECT_S, settings=shown
    )


def _shown_back(sent: Mapping[str, Any]) -> Effect:
    def effect(event: Event, claimed: bool) -> Verdict | None:
        mirrored = event.type == "session_settings" and not event.replayed and not claimed
        return Verdict.PROOF if mirrored and _holds(event.settings or {}, sent) else None

    return effect


def _holds(shown: Any, sent: Any) -> bool:
    """Whether all that was sent is in what is shown, which may have defaults filled in."""
    if isinstance(sent, Mapping):
        return isinstance(shown, Mapping) and all(_holds(shown.get(name), value) for name, value in sent.items())
    if isinstance(sent, list):
        return isinstance(shown, list) and len(shown) == len(sent) and all(map(_holds, shown, sent))
    return bool(shown == sent)
