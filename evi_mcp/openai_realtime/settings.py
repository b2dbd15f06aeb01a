"""EVI's session settings and the service's session, each in the words of the other.

A partial update changes the fields that are present. Whether nested objects merge is not documented, so whole ones are
sent. The voice is fixed once audio was produced (the SDK's reference of `session.update`).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evi_mcp.openai_realtime.reading import Message, Object, text, thing, things

_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")

CANNOT = {
    "language_model_api_key": "the service uses no other model",
    "builtin_tools": "the service has none of EVI's",
    "audio": "the call's own client has settled the form of its audio",
    "metadata": "the service keeps none for a call",
}
"""Fields of EVI's that the service has nothing for."""


@dataclass(frozen=True)
class Change:
    """What a `session_settings` asks of the service.

    `session` is what is sent in `session.update`; `context` is the text of a whisper, `""` clears the persistent one,
    `None` leaves it. `refusal` is why nothing of it is done.
    """

    session: dict[str, Any] = field(default_factory=dict)
    context: str | None = None
    temporary: bool = False
    variables: Mapping[str, Any] = field(default_factory=dict)
    refusal: str | None = None


def change_of(
    settings: Mapping[str, Any], session: Object, variables: Mapping[str, Any], *, has_spoken: bool
) -> Change:
    """What a command asks for; all of it or nothing.

    Args:
        settings: The command, checked by the hub.
        session: The state of the session, as far as it is known.
        variables: Those that were set before, for `{{name}}`.
        has_spoken: Whether the assistant was heard already.
    """
    for name, why in CANNOT.items():
        if settings.get(name) is not None:
            return Change(refusal=f"{name} cannot be set in this call: {why}; nothing was changed")
    known = {**variables, **(settings.get("variables") or {})}
    update: dict[str, Any] = {}
    if settings.get("system_prompt") is not None:
        update["instructions"] = filled(settings["system_prompt"], known)
    if settings.get("voice_id") is not None:
        if has_spoken:
            return Change(refusal="voice_id is fixed once the assistant has spoken; nothing was changed")
        update["audio"] = {"output": {**_output(session), "voice": settings["voice_id"]}}
    if settings.get("tools") is not None:
        if any(tool.get("type") == "builtin" for tool in settings["tools"]):
            return Change(refusal="tools has a builtin one, and the service has none of EVI's; nothing was changed")
        if any(text(tool, "type") == "mcp" for tool in things(session, "tools")):
            return Change(
                refusal="tools would drop the MCP servers of this session, whose credentials nobody here has;"
                " nothing was changed"
            )
        update["tools"] = [_tool_for_service(tool) for tool in settings["tools"]]
    context = settings.get("context")
    whisper: str | None = None
    if "context" in settings:
        whisper = filled(context["text"], known) if context else ""
    temporary = context is not None and context.get("type", "temporary") == "temporary"
    return Change(update, whisper, temporary, known)


def filled(words: str, variables: Mapping[str, Any]) -> str:
    """A text with `{{name}}` replaced by the variables, as EVI does; unknown names are left."""
    return _PLACEHOLDER.sub(lambda found: str(variables.get(found[1], found[0])), words)


def shows(session: Object, update: Object) -> bool:
    """Whether the state of a session has everything that an update asked for; the service may add defaults."""
    return all(_holds(session.get(name), value) for name, value in update.items())


def shown(session: Object) -> Message:
    """The state of a session as `session_settings`: what EVI has words for, and no secret (MCP tools hold some)."""
    found: Message = {"type": "session_settings"}
    if isinstance(session.get("instructions"), str):
        found["system_prompt"] = text(session, "instructions")
    if isinstance(session.get("tools"), list):
        found["tools"] = [_tool_for_evi(tool) for tool in things(session, "tools")]
    voice = thing(thing(session, "audio"), "output").get("voice")
    if isinstance(voice, dict):
        voice = voice.get("id")
    if isinstance(voice, str):
        found["voice_id"] = voice
    return found


def _output(session: Object) -> dict[str, Any]:
    """The output's own settings: the format is not sent again, it was agreed with the caller's side."""
    return {name: value for name, value in thing(thing(session, "audio"), "output").items() if name == "speed"}


def _tool_for_service(tool: Object) -> dict[str, Any]:
    description = tool.get("description")
    return {
        "type": "function",
        "name": tool["name"],
        **({"description": description} if description else {}),
        "parameters": json.loads(tool["parameters"]),
    }


def _tool_for_evi(tool: Object) -> dict[str, Any]:
    if text(tool, "type") == "mcp":
        return {"type": "mcp", "name": text(tool, "server_label")}
    found = {"type": "function", "name": text(tool, "name"), "parameters": json.dumps(tool.get("parameters") or {})}
    return {**found, "description": text(tool, "description")} if tool.get("description") else found


def _holds(has: Any, asked: Any) -> bool:
    if isinstance(asked, Mapping):
        return isinstance(has, Mapping) and all(_holds(has.get(name), value) for name, value in asked.items())
    if isinstance(asked, list):
        return isinstance(has, list) and len(has) == len(asked) and all(map(_holds, has, asked))
    return bool(has == asked)
