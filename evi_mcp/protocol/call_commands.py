"""Commands that EVI does not have, for chats whose `supports` names them: ending a call, handing it on, a recap."""

from typing import Annotated, Literal

from pydantic import Field

from evi_mcp.protocol.commands import Command


class EndChat(Command):
    """Ends the call for everybody on it. Its effect is a `command_result`, and the end of the chat."""

    type: Literal["end_chat"] = "end_chat"


class TransferChat(Command):
    """Hands a telephone call on; this chat ends. `target_uri` is `tel:` and a number, or a SIP address."""

    type: Literal["transfer_chat"] = "transfer_chat"
    target_uri: Annotated[str, Field(pattern=r"^(tel|sips?):[!-~]{1,500}$")]


class AskForRecap(Command):
    """Asks the model for its own account of what was said, where there is no history. Its effect is a `recap`; nobody
    on the line hears of it."""

    type: Literal["recap"] = "recap"
