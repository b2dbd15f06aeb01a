"""The simulated service: all its chats, live and ended. No sockets, no clock, no awaiting.

How many chats may be live at once depends on the plan (Hume's pricing page); here it is a number high
enough for load tests. Ended chats are kept for the REST history, and the oldest are forgotten.
"""

from collections.abc import Iterator
from random import Random
from uuid import UUID, uuid5

from evi_mcp.simulator.engine import ChatEngine, Opening, Timing
from evi_mcp.simulator.scenario import Scenario

MAX_LIVE = 5_000
MAX_ENDED = 200

_NAMESPACE = UUID("6d1c7f0e-35f4-4c8e-9a42-0f7d6f1f8e55")


class EviService:
    """The chats, oldest first.

    Args:
        seed: Two services with the same seed that are used in the same way make the same ids and scores.
        epoch_ms: Unix milliseconds at time 0.
        timing: Of every chat.
    """

    def __init__(self, *, seed: int, epoch_ms: int, timing: Timing) -> None:
        self._seed = seed
        self._epoch_ms = epoch_ms
        self._timing = timing
        self._opened = 0
        self._chats: dict[str, ChatEngine] = {}

    def __iter__(self) -> Iterator[ChatEngine]:
        return iter(self._chats.values())

    @property
    def busy(self) -> bool:
        """Whether no more chats can be opened."""
        return self._live >= MAX_LIVE

    @property
    def _live(self) -> int:
        return sum(chat.ended is None for chat in self)

    def chat(self, chat_id: str) -> ChatEngine | None:
        """The chat with this id, live or ended; `None` if there is none, or none any more."""
        return self._chats.get(chat_id)

    def open_chat(
        self,
        now: float,
        *,
        scenario: Scenario | None = None,
        chat_id: str | None = None,
        chat_group_id: str | None = None,
        config_id: UUID | None = None,
        allow_connection: bool = True,
        verbose_transcription: bool = True,
    ) -> ChatEngine:
        """A new chat, live at once.

        Args:
            now: The time, in seconds.
            scenario: The script to play; `None` for a chat in which somebody types.
            chat_id: `None` makes a UUID, the same one for the same seed and the same number of chats before.
            chat_group_id: The group to continue; one that is unknown, or `None`, becomes a new group.
            config_id: Shown by the REST API; `None` takes the script's.
            allow_connection: Whether `/connect` is allowed.
            verbose_transcription: Whether a script has interim transcripts.

        Raises:
            ValueError: There is a chat with this id.
        """
        number = self._opened
        chat_id = chat_id or self._uuid("chat", number)
        if chat_id in self._chats:
            raise ValueError("there is a chat with this id already")
        self._opened += 1
        groups = {chat.opening.chat_group_id for chat in self} if chat_group_id else set()
        opening = Opening(
            chat_id=chat_id,
            chat_group_id=chat_group_id if chat_group_id in groups else self._uuid("group", number),
            config_id=config_id or (scenario.config_id if scenario else None),
            scenario=scenario,
            allow_connection=allow_connection,
            verbose_transcription=verbose_transcription,
        )
        chance = Random(f"{self._seed}/{number}")
        chat = ChatEngine(opening, self._timing, chance, epoch_ms=self._epoch_ms, now=now)
        self._chats[chat_id] = chat
        self._forget_oldest()
        return chat

    def _uuid(self, kind: str, number: int) -> str:
        return str(uuid5(_NAMESPACE, f"{self._seed}/{kind}/{number}"))

    def _forget_oldest(self) -> None:
        ended = [chat_id for chat_id, chat in self._chats.items() if chat.ended is not None]
        for chat_id in ended[:-MAX_ENDED]:
            del self._chats[chat_id]
