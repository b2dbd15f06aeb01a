"""Changing the settings of the running chat: its prompt, context, variables, voice and tools."""

from collections.abc import Mapping
from typing import Any

from evi_mcp.chat.events import Event
from evi_mcp.protocol.commands import SessionSettings
from evi_mcp.protocol.redaction import REDACTED
from evi_mcp.supervision.live_chat import Effect, LiveChat, Receipt, Verdict

WAIT_FOR_EFFECT_S = 2.0


async def update_session_settings(chat: LiveChat, command: SessionSettings, *, by: str) -> Receipt:
    """Sends the settings. Proven by a `session_settings` that shows all of them, for which it waits 2 s.

    Whether EVI shows settings to the client that sent them is not documented. What comes has its secrets redacted, so a
    secret proves nothing, nor does a field that is cleared and so absent.

    Raises:
        InvalidCommand, NotSent, MaybeSent: As `LiveChat.send`.
    """
    shown = command.shown
    telling = {name: value for name, value in shown.items() if value not in (None, REDACTED)}
    whole = len(telling) == len(shown) > 0
    return await chat.send(
        command,
        by=by,
        effect=_shown_back(telling) if whole else None,
        wait_for_effect_s=WAIT_FOR_EFFECT_S,
        settings=shown,
    )


def _shown_back(sent: Mapping[str, Any]) -> Effect:
    def effect(event: Event, claimed: bool) -> Verdict | None:
        mirrored = event.type == "session_settings" and not event.replayed and not claimed
        return Verdict.PROOF if mirrored and _holds(event.settings or {}, sent, top=True) else None

    return effect


def _holds(shown: Any, sent: Any, *, top: bool = False) -> bool:
    """Whether what is shown is what was sent; beside what was sent in an object there may be defaults."""
    if isinstance(sent, Mapping):
        if not isinstance(shown, Mapping) or not (sent or top or not shown):
            return False
        return all(name in shown and _holds(shown[name], value) for name, value in sent.items())
    if isinstance(sent, list):
        return isinstance(shown, list) and len(shown) == len(sent) and all(map(_holds, shown, sent))
    return bool(shown == sent) and isinstance(shown, bool) == isinstance(sent, bool)
