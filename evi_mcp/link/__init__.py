"""The link: how a bot dials in to a hub and can be supervised. Light: the standard library and `websockets`."""

from evi_mcp.link.chat_link import ChatLink
from evi_mcp.link.commands import (
    AssistantInput,
    Command,
    Context,
    EndChat,
    PauseAssistantMessage,
    Refused,
    ResumeAssistantMessage,
    SessionSettings,
    ToolError,
    ToolResponse,
    TransferChat,
    UserInput,
)
from evi_mcp.link.messages import Message
from evi_mcp.link.supervised_tools import SupervisedTools, ToolAnswer

__all__ = [
    "AssistantInput",
    "ChatLink",
    "Command",
    "Context",
    "EndChat",
    "Message",
    "PauseAssistantMessage",
    "Refused",
    "ResumeAssistantMessage",
    "SessionSettings",
    "SupervisedTools",
    "ToolAnswer",
    "ToolError",
    "ToolResponse",
    "TransferChat",
    "UserInput",
]
