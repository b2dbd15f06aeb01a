"""The table of services against features, from what each source declares."""

from collections.abc import Mapping

from evi_mcp.openai_realtime.declared import FEATURES, SERVICES, SUPPORTS
from evi_mcp.protocol.commands import EVI_COMMANDS

ROWS = {
    "user_input": "words for the caller (`user_input`)",
    "assistant_input": "a line spoken (`assistant_input`)",
    "tool_response": "tool calls answered",
    "session_settings": "settings and whispers",
    "pause_assistant_message": "pause and resume",
    "end_chat": "end the call (`end_chat`)",
    "transfer_chat": "transfer the call (`transfer_chat`)",
    "history": "history before the attach",
    "recap": "the model's own account of it (`recap`)",
    "words": "the caller's words",
    "interim": "words while they are spoken",
    "interruptions": "interruptions",
    "expression": "expression scores",
    "audio": "the assistant's voice",
    "foreign_answers": "answers of other clients",
    "list": "chats are listed",
    "tried": "tried against",
}
"""Features, in the order of the page."""

EVI = {
    "assistant_input": "word for word",
    "history": "yes",
    "words": "yes",
    "interim": "if opened with `verbose_transcription`",
    "expression": "48 scores",
    "audio": "yes",
    "foreign_answers": "not promised",
    "tried": "simulated, with Hume's own client",
}
OTHERS = frozenset({"end_chat", "transfer_chat", "recap"})
"""Commands that EVI has not."""
LINK = dict.fromkeys((*EVI_COMMANDS, *OTHERS), "as the bot declares") | {
    "history": "since the bot dialled in",
    "words": "as the bot tells",
    "interim": "as the bot tells",
    "interruptions": "as the bot tells",
    "expression": "any scores the bot gives",
    "audio": "as the bot tells",
    "tried": "real processes",
}


def table() -> str:
    """The table in Markdown: one column for each service."""
    columns: dict[str, list[str]] = {
        "EVI and compatible": column(frozenset(EVI_COMMANDS), EVI),
        "Hub link": column(OTHERS.union(EVI_COMMANDS), LINK),
        **{name: column(frozenset(SUPPORTS), {**FEATURES, **more}) for name, more in SERVICES.items()},
    }
    lines = [f"| Feature | {' | '.join(columns)} |", f"| --- |{' --- |' * len(columns)}"]
    for place, label in enumerate(ROWS.values()):
        lines.append(f"| {label} | {' | '.join(cells[place] for cells in columns.values())} |")
    return "\n".join(lines)


def column(supports: frozenset[str], more: Mapping[str, str]) -> list[str]:
    """The cells of a service: a command that is not declared is not there, whatever else is said of it."""
    cells = []
    for name in ROWS:
        is_command = name in OTHERS.union(EVI_COMMANDS)
        cells.append("no" if is_command and name not in supports else more.get(name, "yes"))
    return cells
