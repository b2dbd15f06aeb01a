"""Commands from the hub, carried out one after the other by the bot's handlers. Whatever a handler does, the call goes
on and the hub hears what became of the command."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from evi_mcp.link.commands import Command, Refused, SessionSettings, ToolError, ToolResponse, command_of
from evi_mcp.link.inbox import Inbox, Outcome
from evi_mcp.link.vocabulary import Vocabulary

COMMAND_TIMEOUT_S = 10.0
"""How long a handler may take. It should begin what was asked for and not wait for its end."""
MAX_COMMANDS = 256
"""Commands that wait to be carried out; more are refused."""

C = TypeVar("C", bound=Command)
Handler = Callable[[C], Awaitable[None] | None]

_log = logging.getLogger("evi_mcp.link")


class Obeying:
    """The handlers of one chat, and the commands that wait for them.

    Args:
        inbox: Knows which commands came already.
        words: Where tool answers and settings that were accepted are shown to all.
        tell: Called with what became of a command.
    """

    def __init__(self, inbox: Inbox, words: Vocabulary, tell: Callable[[Outcome], None]) -> None:
        self.handlers: dict[type[Command], Callable[[Any], Awaitable[None] | None]] = {}
        self._inbox = inbox
        self._words = words
        self._tell = tell
        self._commands: asyncio.Queue[tuple[str, Any]] = asyncio.Queue(MAX_COMMANDS)

    def receive(self, id_: str, message: Any) -> None:
        """A command from the hub, perhaps again."""
        if not self._inbox.is_new(id_):
            if (outcome := self._inbox.outcome(id_)) is not None:
                self._tell(outcome)
        elif self._commands.full():
            self._settle(Outcome(id_, "the bot has too many commands to carry out"))
        else:
            self._commands.put_nowait((id_, message))

    def _settle(self, outcome: Outcome) -> None:
        self._inbox.settle(outcome)
        self._tell(outcome)

    async def run(self) -> None:
        """Carries out what comes, one after the other, for ever."""
        while True:
            id_, message = await self._commands.get()
            self._settle(Outcome(id_, await self._carry_out(message)))

    async def _carry_out(self, message: Any) -> str | None:
        """Returns why it was refused, or `None`."""
        try:
            command = command_of(message)
            if (handler := self.handlers.get(type(command))) is None:
                raise Refused(f"this chat does not support {command.type}")
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                if inspect.isawaitable(doing := handler(command)):
                    await doing
            if isinstance(command, (ToolResponse, ToolError)):
                self._words.message({"tool_type": "function", **message})
            elif isinstance(command, SessionSettings):
                self._words.session_settings(message)
        except Refused as refusal:
            return str(refusal)
        except TimeoutError:
            return f"the bot did not finish it within {COMMAND_TIMEOUT_S:g} s; it may have taken effect in part"
        except Exception as error:
            _log.exception("a command failed in the bot")
            return f"it failed in the bot ({type(error).__name__})"
        return None
