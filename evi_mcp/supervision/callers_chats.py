"""The chats of one caller: which it may see, what an id means, attaching and detaching."""

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence

import anyio

from evi_mcp.access.callers import Access, Caller, Rights
from evi_mcp.access.limits import CallerLimits
from evi_mcp.clock import Clock
from evi_mcp.errors import (
    ChatNotAllowed,
    ChatNotAttached,
    EviMcpError,
    InvalidChatId,
    MissingApiKey,
    ServiceUnavailable,
    ToolNotAllowed,
)
from evi_mcp.ledger.cursors import Cursors
from evi_mcp.protocol.chat_id import check_chat_id
from evi_mcp.supervision.live_chat import Attach, LiveChat
from evi_mcp.supervision.naming import may_be_whole, meant
from evi_mcp.supervision.refusals import AmbiguousChatId
from evi_mcp.supervision.registry import ChatRegistry
from evi_mcp.upstream.directory import Directory, ServiceChat


class CallersChats:
    """What a caller may see, and the only way to it.

    Args:
        caller: Who sits there.
        registry: All chats that are followed.
        directory: Knows the chats of the service; `None` where there is no key to ask with.
        ceiling: The most that any caller may do.
        limits: What one caller may have of what all share.
    """

    def __init__(
        self,
        caller: Caller,
        registry: ChatRegistry,
        directory: Directory | None,
        ceiling: Rights,
        limits: CallerLimits,
    ) -> None:
        self.caller = caller
        self._registry = registry
        self._directory = directory
        self._ceiling = ceiling
        self._limits = limits
        self.attached: list[str] = []
        """The chats that were attached only because a tool named them, in the course of this request."""

    @property
    def clock(self) -> Clock:
        """What time is told by."""
        return self._registry.house.clock

    @property
    def cursors(self) -> Cursors:
        """What places are written and read with."""
        return self._registry.house.ledger.cursors

    # Who may

    def allows(self, needed: Access) -> bool:
        """Whether the caller may use tools of this level."""
        return self.caller.rights.access.allows(needed) and self._ceiling.access.allows(needed)

    def offers(self, needed: Access) -> bool:
        """Whether tools of this level are listed: to whoever shows a token also those for which it needs another
        token, since nobody asks for what is hidden."""
        return self._ceiling.access.allows(needed) if self.caller.principal else self.allows(needed)

    @property
    def service_takes(self) -> frozenset[str]:
        """Commands that EVI has not and that chats of the service may take."""
        return self._directory.more_commands if self._directory is not None else frozenset()

    def require(self, tool: str, needed: Access) -> None:
        """Raises `ToolNotAllowed` if the caller may not use tools of this level."""
        if not self.allows(needed):
            level = min(self.caller.rights.access, self._ceiling.access, key=list(Access).index)
            raise ToolNotAllowed(tool, needed.value, level.value, by_token=self.offers(needed))

    def time_left(self) -> float:
        """Seconds until the caller's token ends; infinite for one that does not."""
        ends = self.caller.principal.expires_at if self.caller.principal is not None else None
        return math.inf if ends is None else max(0.0, ends - self.clock.now())

    def sees(self, chat_id: str) -> bool:
        """Whether the caller may see this chat."""
        return self._ceiling.sees(chat_id) and self.caller.rights.sees(chat_id)

    def _permit(self, chat_id: str) -> str:
        check_chat_id(chat_id)
        if (shown := self._registry.house.mask(chat_id)) != chat_id:
            raise InvalidChatId(shown)  # it would go into addresses, and from there into the logs of others
        if not self.sees(chat_id):
            raise ChatNotAllowed(chat_id, by_setting=not self._ceiling.sees(chat_id))
        return chat_id

    # Chats

    def full_id(self, chat_id: str) -> str:
        """The id that is meant by the beginning of that of an attached chat; what was given, if there is none.

        Raises:
            AmbiguousChatId: Several begin with it.
        """
        return meant(chat_id, (chat.chat_id for chat in self.chats()))

    def chat(self, chat_id: str) -> LiveChat:
        """An attached chat, by its id or the beginning of it.

        Raises:
            InvalidChatId, AmbiguousChatId, ChatNotAllowed, ChatNotAttached: It cannot be had, for the reason that the
                name says.
        """
        chat = self._registry.find(self._permit(self.full_id(chat_id)))
        if chat is None:
            raise ChatNotAttached(chat_id, [chat.chat_id for chat in self.chats()])
        return chat

    async def reach(self, chat_id: str) -> LiveChat:
        """The chat that a tool names. One that is not attached is attached first, which `attached` notes: clients that
        start a server for each call have nowhere else to do it.

        Raises:
            EviMcpError: As `attach`, if there is no such chat here.
        """
        full = await self._meant(chat_id)
        chat = self._registry.find(self._permit(full))
        if chat is None:
            chat = await self._attach(full)
            self.attached.append(full)
        elif chat.attach is Attach.TRIED:
            chat = await self._registry.attach(full)  # another call has begun it
        return chat

    async def reach_all(self, chat_ids: Iterable[str]) -> list[LiveChat]:
        """The chats of these ids, each once, reached at the same time; raises as `reach` for the first that fails."""
        reached = await self._each(chat_ids, self.reach)
        for outcome in reached.values():
            if isinstance(outcome, EviMcpError):
                raise outcome
        return list(dict.fromkeys(chat for chat in reached.values() if isinstance(chat, LiveChat)))

    async def _each(
        self, chat_ids: Iterable[str], reach: Callable[[str], Awaitable[LiveChat]]
    ) -> dict[str, LiveChat | EviMcpError]:
        """What comes of each of these ids, all tried at the same time, in the order in which they were given."""
        outcomes: dict[str, LiveChat | EviMcpError | None] = dict.fromkeys(chat_ids)

        async def one(chat_id: str) -> None:
            try:
                outcomes[chat_id] = await reach(chat_id)
            except EviMcpError as error:
                outcomes[chat_id] = error

        async with anyio.create_task_group() as group:
            for chat_id in outcomes:
                group.start_soon(one, chat_id)
        return {chat_id: outcome for chat_id, outcome in outcomes.items() if outcome is not None}

    async def _meant(self, chat_id: str) -> str:
        """As `full_id`. Where the beginning of an id may be the whole id of another chat, the service is asked: a
        command must not go to the wrong call.

        Raises:
            AmbiguousChatId: Nobody can tell.
        """
        full = self.full_id(chat_id)
        if not may_be_whole(chat_id, full):
            return full
        try:
            active, _, more = await self.active_chats()
        except (MissingApiKey, ServiceUnavailable):
            raise AmbiguousChatId(chat_id, [full]) from None
        if chat_id in {chat.chat_id for chat in active}:
            return chat_id
        if more:
            raise AmbiguousChatId(chat_id, [full])
        return full

    def chats(self, chat_ids: Iterable[str] | None = None) -> list[LiveChat]:
        """The attached chats of these ids, each once; all that the caller may see for `None`. Raises as `chat`."""
        if chat_ids is None:
            return [chat for chat in self._registry.chats() if self.sees(chat.chat_id)]
        return [self.chat(chat_id) for chat_id in dict.fromkeys(chat_ids)]

    def on_chats_changed(self, callback: Callable[[], None]) -> None:
        """From now on `callback` is called whenever a chat was attached or detached, be it one to be seen or not."""
        self._registry.on_chats_changed(callback)

    def follow(self, chat_id: str) -> LiveChat:
        """Begins to attach to a chat and returns at once; raises as `attach`, but for what only the service can say."""
        self._permit(chat_id)
        if self._directory is None:
            raise MissingApiKey
        self._directory.check_route()
        if self._registry.find(chat_id) is None:
            self._limits.attach(self.caller, chat_id, [chat.chat_id for chat in self._registry.chats()])
        return self._registry.follow(chat_id)

    async def attach(self, chat_id: str) -> LiveChat:
        """Attaches to a chat, as `ChatRegistry.attach`.

        Raises:
            MissingApiKey: There is no key to connect with.
            ServiceUnavailable: The environment leaves no way to the service.
            InvalidChatId, AmbiguousChatId, ChatNotAllowed, TooManyChats, AttachRefused: As their names say.
        """
        return await self._attach(await self._meant(chat_id))

    async def attach_all(self, chat_ids: Iterable[str]) -> dict[str, LiveChat | EviMcpError]:
        """Attaches to these chats at the same time; for each id as it was given the chat, or why it could not be
        had."""
        return await self._each(chat_ids, self.attach)

    async def _attach(self, chat_id: str) -> LiveChat:
        self.follow(chat_id)
        return await self._registry.attach(chat_id)

    def place_of(self, chats: Sequence[LiveChat]) -> str:
        """The cursor of a reader who has been shown these chats as they stand. It is good for a wait over all chats
        that the caller may see: nothing that has come in one of the others lies before it.

        For several chats that place lies in all chats, if need be before the first event of the others.
        """
        shown = max((chat.record.read_to for chat in chats), default=0)
        others = (chat.record.log.first for chat in self.chats() if chat not in chats and not chat.over)
        unread = min((first.seq for first in others if first is not None), default=shown + 1)
        if unread > shown:
            return self.cursors.at(shown)
        return self.cursors.at(shown, chats[0].chat_id) if len(chats) == 1 else self.cursors.at(unread - 1)

    async def detach(self, chat_id: str) -> LiveChat:
        """Detaches from a chat, for all callers. Raises as `chat`."""
        full = await self._meant(chat_id)
        self.chat(full)
        return await self._registry.detach(full)

    async def active_chats(self) -> tuple[list[ServiceChat], int, bool]:
        """The chats that the service calls active and that may be seen, how many more may not, and whether there are
        more of either.

        Raises:
            MissingApiKey, ServiceUnavailable: The service cannot be asked.
        """
        if self._directory is None:
            raise MissingApiKey
        found, more = await self._directory.active_chats()
        allowed = [chat for chat in found if self.sees(chat.chat_id)]
        return allowed, len(found) - len(allowed), more
