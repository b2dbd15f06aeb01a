"""What can be done with such a call: what the adapter declares to the hub, and the docs say of it."""

from collections.abc import Mapping

SUPPORTS = (
    "assistant_input",
    "end_chat",
    "pause_assistant_message",
    "recap",
    "resume_assistant_message",
    "session_settings",
    "tool_error",
    "tool_response",
    "transfer_chat",
    "user_input",
)
"""The commands that the adapter takes: EVI's, and three that EVI has not."""

FEATURES: Mapping[str, str] = {
    "assistant_input": "asked for; `reworded` if other words were said",
    "pause_assistant_message": "emulated: another client can make it begin a word",
    "recap": "yes, labelled as that; costs tokens",
    "session_settings": "prompt, tools, whispers, variables; voice before the first sound",
    "transfer_chat": "SIP calls only",
    "history": "no: the log begins at the attach",
    "words": "if the session has `audio.input.transcription`",
    "interim": "if the session has it",
    "interruptions": "yes, with how much was heard",
    "expression": "no",
    "audio": "no",
    "foreign_answers": "yes",
    "list": "no: announced by id or by webhook",
}
"""More on a command, or on what is no command; what is not named here is plain yes."""

SERVICES: Mapping[str, Mapping[str, str]] = {
    "OpenAI Realtime": {"tried": "simulated"},
    "Azure OpenAI": {"tried": "never", "transfer_chat": "not known", "end_chat": "not known"},
    "Inworld": {"tried": "never", "transfer_chat": "no: WebRTC only", "list": "no: announced by id"},
}
"""Services with this wire, and what differs. `tried`: nothing was tried against a live service."""
