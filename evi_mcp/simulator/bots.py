"""Scripted bots on the hub: each plays one call, as a voice agent that dialled in would."""

from collections.abc import Callable
from random import Random
from uuid import UUID, uuid5

import anyio

from evi_mcp import __version__
from evi_mcp.hub import Hub, SourceCommand
from evi_mcp.simulator.scenario import Scenario
from evi_mcp.simulator.scripted_call import ScriptedCall, Timing

_NAMESPACE = UUID("6d1c7f0e-35f4-4c8e-9a42-0f7d6f1f8e55")


class ScriptedBot:
    """A bot that plays a call on its chat. `run` has to run for it to go on."""

    def __init__(
        self,
        hub: Hub,
        scenario: Scenario | None,
        timing: Timing,
        chance: Random,
        clock: Callable[[], float],
        *,
        epoch_ms: int,
        verbose_transcription: bool,
        chat_id: str,
        chat_group_id: str,
        config_id: str | None,
        allow_connection: bool,
    ) -> None:
        self._clock = clock
        self._changed = anyio.Event()
        self.over = anyio.Event()
        now = clock()
        self.source = hub.open_chat(
            source={"name": "script", "evi-mcp": __version__},
            chat_id=chat_id,
            chat_group_id=chat_group_id,
            config_id=config_id,
            allow_connection=allow_connection,
            on_command=self._take,
            started_ms=epoch_ms + int(now * 1000),
        )
        self.call = ScriptedCall(
            scenario,
            timing,
            chance,
            self.source.publish,
            epoch_ms=epoch_ms,
            now=now,
            verbose_transcription=verbose_transcription,
        )

    async def run(self) -> None:
        """Plays the call, each thing when it is due, until it ends."""
        while (due := self.call.next_due()) is not None:
            with anyio.move_on_after(max(0.0, due - self._clock())):
                await self._changed.wait()
            self._changed = anyio.Event()
            self.call.advance(self._clock())
        self._finish()

    def leave(self) -> None:
        """The user hangs up."""
        self.call.leave(self._clock())
        self._finish()
        self._changed.set()

    def _take(self, command: SourceCommand) -> None:
        if self.call.take(command.message, self._clock()):
            command.done()  # before what follows from it, in the history too
        else:
            command.refuse(None)
        self._changed.set()

    def _finish(self) -> None:
        if self.call.ending is not None:
            status, reason = self.call.ending
            self.source.end(reason, status=status, at_ms=self.call.now_ms)
            self.over.set()


class ScriptedBots:
    """Opens calls, each with ids of its own.

    Args:
        hub: Where they dial in.
        seed: Two with the same seed that are used in the same way make the same ids and scores.
        timing: Of every call.
        clock: Seconds since the start.
        epoch_ms: Unix milliseconds at the start.
    """

    def __init__(self, hub: Hub, *, seed: int, timing: Timing, clock: Callable[[], float], epoch_ms: int) -> None:
        self._hub = hub
        self._seed = seed
        self._timing = timing
        self._clock = clock
        self._epoch_ms = epoch_ms
        self._opened = 0

    def open(
        self,
        scenario: Scenario | None = None,
        *,
        chat_id: str | None = None,
        chat_group_id: str | None = None,
        config_id: str | None = None,
        allow_connection: bool = True,
        verbose_transcription: bool = True,
    ) -> ScriptedBot:
        """A new call, live at once.

        Args:
            scenario: The script to play; `None` for a call in which somebody types.
            chat_id: `None` makes a UUID, the same one for the same seed and the same number of calls before.
            chat_group_id: The group to continue; one that is unknown, or `None`, becomes a new group.
            config_id: Shown by the REST API; `None` takes the script's.
            allow_connection: Whether `/connect` is allowed.
            verbose_transcription: Whether a script has interim transcripts.

        Raises:
            InvalidChatId, ChatIdTaken, TooManyChats: The hub does not take it.
        """
        number = self._opened
        groups = {chat.facts.chat_group_id for chat in self._hub.chats} if chat_group_id else set()
        bot = ScriptedBot(
            self._hub,
            scenario,
            self._timing,
            Random(f"{self._seed}/{number}"),
            self._clock,
            epoch_ms=self._epoch_ms,
            verbose_transcription=verbose_transcription,
            chat_id=chat_id or self._uuid("chat", number),
            chat_group_id=chat_group_id if chat_group_id in groups and chat_group_id else self._uuid("group", number),
            config_id=config_id or (str(scenario.config_id) if scenario else None),
            allow_connection=allow_connection,
        )
        self._opened += 1
        return bot

    def _uuid(self, kind: str, number: int) -> str:
        return str(uuid5(_NAMESPACE, f"{self._seed}/{kind}/{number}"))
