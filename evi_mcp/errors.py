"""Every error this package raises on purpose, in one tree.

    EviMcpError
    ├── InvalidSetting        a setting that cannot be used
    ├── CannotListen          an address is taken, or not ours
    ├── MissingApiKey         the call needs HUME_API_KEY
    ├── InvalidChatId         not an id that could name a chat
    ├── ChatNotAttached       no connection to this chat is held
    ├── ChatNotAllowed        the chat is not on the allow-list
    ├── ToolNotAllowed        the tool is above the access level
    ├── TooManyChats          the limit of attached chats is reached
    ├── TooManyWaits          the limit of calls that wait is reached
    ├── CallerLimit           the caller has reached a limit of its own
    ├── TokenEnded            the caller's token ended while its call was waiting
    ├── TokenRefused, NoScope, TokenUnverified   a token that is not accepted (access/refusals.py)
    ├── AttachRefused         the service will never accept this attach
    ├── ServiceUnavailable    a REST call failed
    │   ├── SendRefused       the service did not take the message
    │   ├── SendNotReached    nothing of the message was written
    │   └── SendUnknown       the message was written, and may have been taken
    ├── InvalidCursor         not a cursor that this server made
    ├── InvalidArgument       an argument that its schema accepts and that is still wrong
    ├── InvalidCommand        EVI would not understand this message
    ├── UnknownToolCall       no such tool call is waiting
    ├── ToolCallAnswered      somebody answered first
    ├── UserSpoke             the conversation moved on
    ├── NoAudio               no audio of this message is kept
    ├── UnusableAudio         the chunks cannot be joined to one WAV
    ├── NotSupported          the chat does not take such a command
    ├── NotSent               the command was not written to the socket
    │   └── Unrecorded        because the audit log could not record it
    └── MaybeSent             the connection broke while it was being written

The text of each is one sentence that says what is wrong and what to do next: it is
what a model reads. Text that came from a chat or a caller's argument is quoted in it.
"""

from collections.abc import Iterable, Sequence

from evi_mcp.quoting import name, quote


class EviMcpError(Exception):
    """The base of all of them; `str()` is meant for an agent."""

    audited = False
    """Whether the audit log has a record of it already, or cannot have one."""


class InvalidSetting(EviMcpError):
    """A setting that cannot be used; the process ends with status 2."""


class CannotListen(EviMcpError):
    """The server cannot listen on an address; `why` is the system's reason."""

    def __init__(self, host: str, port: int, why: str) -> None:
        super().__init__(host, port)
        self.host, self.port, self.why = host, port, why

    def __str__(self) -> str:
        return f"cannot listen on {name(self.host)} port {self.port}: {self.why}"


class MissingApiKey(EviMcpError):
    """The call has to reach the service and no key is set."""

    def __str__(self) -> str:
        return (
            "HUME_API_KEY is not set, so there is no service to reach. To supervise voice agents of your own, start"
            " this server with --hub 127.0.0.1:8770, which they dial in to; to try it out, with --simulate. For an"
            " EVI-compatible service set EVI_MCP_BASE_URL and HUME_API_KEY (for an MCP client: in the `env` of this"
            " server's entry)."
        )


class InvalidChatId(EviMcpError):
    """The given text cannot be a chat id."""

    def __init__(self, chat_id: str) -> None:
        super().__init__(chat_id)
        self.chat_id = chat_id

    def __str__(self) -> str:
        return (
            f"{quote(self.chat_id, 80)} is not a chat id: it takes 1 to 128 letters, digits, '-', '_' and '.';"
            " take one from list_chats."
        )


class ChatNotAttached(EviMcpError):
    """No connection to this chat is held; `attached` are the ids that are."""

    def __init__(self, chat_id: str, attached: Iterable[str]) -> None:
        super().__init__(chat_id)
        self.chat_id = chat_id
        self.attached = tuple(attached)

    def __str__(self) -> str:
        have = f"attached are {listing(self.attached)}" if self.attached else "no chat is attached"
        return f"chat {quote(self.chat_id, 80)} is not attached ({have}); call attach_chat first."


class ChatNotAllowed(EviMcpError):
    """The chat is not among those that the caller may touch. `by_setting`: the server itself may not touch it."""

    def __init__(self, chat_id: str, *, by_setting: bool = True) -> None:
        super().__init__(chat_id)
        self.chat_id, self.by_setting = chat_id, by_setting

    def __str__(self) -> str:
        if not self.by_setting:
            return f"chat {quote(self.chat_id, 80)} is not among the chats that you may touch."
        return (
            f"chat {quote(self.chat_id, 80)} is not among the chats that this server may touch"
            " (EVI_MCP_ALLOWED_CHATS); only whoever configures the server can change that."
        )


class ToolNotAllowed(EviMcpError):
    """The tool needs a higher access level than the caller has. `by_token`: another token could allow it."""

    def __init__(self, tool: str, needs: str, level: str, *, by_token: bool = False) -> None:
        super().__init__(tool)
        self.tool, self.needs, self.level, self.by_token = tool, needs, level, by_token

    def __str__(self) -> str:
        if self.by_token:
            return (
                f"{self.tool} needs the scope 'evi:{self.needs}', and your token grants 'evi:{self.level}'; nothing was"
                " done. Whoever manages your token can grant it."
            )
        return (
            f"{self.tool} needs the access level {self.needs!r} and this server runs at {self.level!r}"
            " (EVI_MCP_ACCESS); only whoever configures the server can change that."
        )


class TooManyChats(EviMcpError):
    """The limit of attached chats is reached; `over` of them have ended."""

    def __init__(self, attached: int, over: int) -> None:
        super().__init__(attached)
        self.attached, self.over = attached, over

    def __str__(self) -> str:
        return (
            f"{self.attached} chats are attached, which is the limit (EVI_MCP_MAX_CHATS), {self.over} of them over;"
            " detach one with detach_chat first."
        )


class TooManyWaits(EviMcpError):
    """The limit of calls that wait at once is reached."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most

    def __str__(self) -> str:
        return (
            f"{self.most} calls are waiting already, which is the limit (EVI_MCP_MAX_WAITS); use one wait_for_events"
            " for several chats, or read with read_events."
        )


class CallerLimit(EviMcpError):
    """A caller has reached a limit of its own. `what` it has too many of; the limit's `setting`; `then`: what to do."""

    def __init__(self, what: str, setting: str, then: str) -> None:
        super().__init__(what)
        self.what, self.setting, self.then = what, setting, then

    def __str__(self) -> str:
        return f"you have {self.what}, which is your limit ({self.setting}); nothing was done, {self.then}."


class TokenEnded(EviMcpError):
    """The token of a call ended, or was taken back, while it was waiting."""

    def __str__(self) -> str:
        return "your token has ended, so this wait has too; go on from your last cursor with a new token."


class AttachRefused(EviMcpError):
    """The service will never accept this attach; the attempt leaves nothing behind."""

    def __init__(self, chat_id: str, cause: str) -> None:
        super().__init__(chat_id)
        self.chat_id, self.cause = chat_id, cause

    def __str__(self) -> str:
        return f"cannot attach to chat {quote(self.chat_id, 80)}: {self.cause}."


class ServiceUnavailable(EviMcpError):
    """A REST call did not give an answer that can be used."""


class SendRefused(ServiceUnavailable):
    """The service answered a posted message with this status: it did not take the message."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status

    def __str__(self) -> str:
        return f"the service refused the message (HTTP {self.status}), so it did not reach the chat."


class SendNotReached(ServiceUnavailable):
    """A message could not be posted to a chat, and nothing of it was written; `why` says what failed."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"the message did not reach the service ({self.why}); nothing of it was sent."


class SendUnknown(ServiceUnavailable):
    """A message was posted to a chat, and no answer says whether the service took it; `why` says what came instead."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"the message was sent, and the service did not say whether it took it ({self.why})."


class InvalidCursor(EviMcpError):
    """The given text is no cursor, and neither `earliest` nor `latest`."""

    def __init__(self, cursor: str) -> None:
        super().__init__(cursor)
        self.cursor = cursor

    def __str__(self) -> str:
        what = "is the number of an event" if self.cursor.isdecimal() else "is not a cursor of this server"
        return (
            f"{quote(self.cursor, 80)} {what}; pass the `cursor` of an earlier result, which looks like"
            " '9f3a01c2-160' or '9f3a01c2-160@5b1c3a0e', or 'earliest' or 'latest'."
        )


class InvalidArgument(EviMcpError):
    """An argument is wrong in a way that its schema cannot express."""


class InvalidCommand(EviMcpError):
    """EVI would not understand this message, so it was not sent."""


class UnknownToolCall(EviMcpError):
    """No tool call of this id is known in the chat; `pending` are the ids that wait."""

    def __init__(self, tool_call_id: str, pending: Iterable[str]) -> None:
        super().__init__(tool_call_id)
        self.tool_call_id = tool_call_id
        self.pending = tuple(pending)

    def __str__(self) -> str:
        have = f"pending are {listing(self.pending)}" if self.pending else "none is pending in this chat"
        return (
            f"no tool call {quote(self.tool_call_id, 80)} is known, {have};"
            " nothing was sent, take the id from list_tool_calls."
        )


_CLOSED = {"failed": "answered with an error"}


class ToolCallAnswered(EviMcpError):
    """The tool call is closed; the first answer wins. `by` is in our words, claimed names in quotes."""

    def __init__(self, tool_call_id: str, status: str, by: str, at: str) -> None:
        super().__init__(tool_call_id)
        self.tool_call_id, self.status, self.by, self.at = tool_call_id, status, by, at

    def __str__(self) -> str:
        return (
            f"tool call {quote(self.tool_call_id, 80)} was {_CLOSED.get(self.status, self.status)} by {self.by} at"
            f" {self.at};"
            " nothing was sent, the first answer counts."
        )


class UserSpoke(EviMcpError):
    """A final spoken message came after the cursor that the caller had read up to."""

    def __init__(self, said: str, cursor: str) -> None:
        super().__init__(said)
        self.said, self.cursor = said, cursor

    def __str__(self) -> str:
        return (
            f"nothing was sent, because the user has said {quote(self.said, 400)} since then;"
            f" read on, and pass unless_user_spoke_after={self.cursor!r} if you still want to."
        )


class NoAudio(EviMcpError):
    """No audio of this message is kept; `why` says what became of it, and what to do."""

    def __init__(self, chat_id: str, message_id: str, why: str) -> None:
        super().__init__(message_id)
        self.chat_id, self.message_id, self.why = chat_id, message_id, why

    def __str__(self) -> str:
        return (
            f"no audio of message {quote(self.message_id, 80)} is kept in chat {quote(self.chat_id, 80)}: {self.why}."
        )


class UnusableAudio(EviMcpError):
    """The chunks of a message do not make one WAV; `why` says what is wrong with them."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"the chunks of this message cannot be joined to one WAV: {self.why}."


class NotSent(EviMcpError):
    """The command was not written: it is safe to try again. `gone`: the service knows no such live chat."""

    def __init__(self, command: str, why: str, *, gone: bool = False) -> None:
        super().__init__(command)
        self.command, self.why, self.gone = command, why, gone

    def __str__(self) -> str:
        return f"{self.command} was not sent, and nothing reached the chat: {self.why}."


class NotSupported(EviMcpError):
    """The chat does not take such a command; `source` is what it comes from, `None` if it does not say."""

    def __init__(self, command: str, source: str | None, supports: Sequence[str]) -> None:
        super().__init__(command)
        self.command, self.source, self.supports = command, source, supports

    def __str__(self) -> str:
        source = f"this chat comes from {quote(self.source, 64)}, which" if self.source else "this chat"
        takes = ", ".join(name(kind) for kind in self.supports) or "no commands"
        return f"{self.command} was not sent: {source} does not take it. It takes: {takes}."


class Unrecorded(NotSent):
    """The audit log cannot be written, so the command was not sent; `cause` is the system's reason."""

    audited = True

    def __init__(self, command: str, cause: str) -> None:
        super().__init__(
            command,
            f"it could not be recorded in the audit log ({cause}), and nothing is sent unrecorded; the operator of this"
            " server has to fix that, then try again",
        )
        self.cause = cause


class MaybeSent(EviMcpError):
    """The connection broke while the command was being written."""

    def __init__(self, command: str) -> None:
        super().__init__(command)
        self.command = command

    def __str__(self) -> str:
        return (
            f"the connection broke while {self.command} was being written, so it may or may not have reached the chat;"
            " see with read_events what happened before you send it again."
        )


def listing(names: Iterable[str], most: int = 10) -> str:
    """Names in quotes, the first `most` of them, with a count of the rest."""
    every = list(names)
    shown = ", ".join(quote(name, 80) for name in every[:most])
    return shown if len(every) <= most else f"{shown} and {len(every) - most} more"
