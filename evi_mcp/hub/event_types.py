"""Which messages the REST history shows, under which names. Hume's reference of `GET /v0/evi/chats/{id}`."""

from collections.abc import Mapping

EVENT_TYPES: Mapping[str, tuple[str, str]] = {
    "user_message": ("USER_MESSAGE", "USER"),
    "assistant_message": ("AGENT_MESSAGE", "AGENT"),
    "assistant_prosody": ("ASSISTANT_PROSODY", "AGENT"),
    "user_interruption": ("USER_INTERRUPTION", "USER"),
    "tool_call": ("FUNCTION_CALL", "AGENT"),
    "tool_response": ("FUNCTION_CALL_RESPONSE", "TOOL"),
    "tool_error": ("FUNCTION_CALL_RESPONSE", "TOOL"),
    "session_settings": ("SESSION_SETTINGS", "SYSTEM"),
    "pause_assistant_message": ("PAUSE_ONSET", "SYSTEM"),
    "resume_assistant_message": ("RESUME_ONSET", "SYSTEM"),
}
"""The type on the socket: type and role over REST."""
