"""A desk: all that one caller may see and do, and the only way to the chats.

Tools, resources, lists, completions, prompts, subscriptions and waits all pass here, so that a caller who may see one
chat finds no trace of another.
"""

import math
from collections.abc import Callable, Iterable, Sequence

from evi_mcp.access.callers import Access, Caller, Rights
from evi_mcp.access.limits import CallerLimits
from evi_mcp.chat.pages import Filter, Readable, Start
from evi_mcp.chat.tool_calls import TrackedCall
from evi_mcp.chat.triggers import Trigger
from evi_mcp.clock import Clock
from evi_mcp.errors import (
    ChatNotAllowed,
    ChatNotAttached,
    InvalidArgument,
    InvalidChatId,
    MissingApiKey,
    ToolNotAllowed,
)
from evi_mcp.ledger.cursors import Cursors, Position
from evi_mcp.protocol.chat_id import check_chat_id
from evi_mcp.protocol.commands import AssistantInput, SessionSettings, UserInput
from evi_mcp.supervision.actions import answering, ending, pausing, settings, speaking
from evi_mcp.supervision.feed import Feed, Scope
from evi_mcp.supervision.intents import Receipt
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.supervision.registry import ChatRegistry
from evi_mcp.supervision.waiting import Wait
from evi_mcp.upstream.directory import Directory, ServiceChat


class Desk:
    """What a caller works at; made by `Service.desk`.

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

    def chat(self, chat_id: str) -> LiveChat:
        """An attached chat.

        Raises:
            InvalidChatId, ChatNotAllowed, ChatNotAttached: It cannot be had, for the reason that the name says.
        """
        chat = self._registry.find(self._permit(chat_id))
        if chat is None:
            raise ChatNotAttached(chat_id, [chat.chat_id for chat in self.chats()])
        return chat

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
            InvalidChatId, ChatNotAllowed, TooManyChats, AttachRefused: As their names say.
        """
        self._permit(chat_id)
        self.follow(chat_id)
        return await self._registry.attach(chat_id)

    async def detach(self, chat_id: str) -> LiveChat:
        """Detaches from a chat, for all callers. Raises as `chat`."""
        self.chat(chat_id)
        return await self._registry.detach(chat_id)

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

    # Reading

    def position(self, cursor: str) -> Position:
        """The place that a cursor names. Raises `InvalidCursor`."""
        return self.cursors.read(cursor)

    def start(self, position: Position, chats: Sequence[LiveChat]) -> Start:
        """Where a reader of these chats goes on from a place."""
        holders = [chat for chat in chats if chat.chat_id[: len(position.chat or "")] == position.chat]
        if len(holders) > 1:  # ids that begin alike: the place is in the chat that has the event
            having = [chat for chat in holders if position.seq in chat.record.log]
            holders = having if len(having) == 1 else []

        def after(chat: Readable) -> int:
            if position.chat is None:
                return position.seq
            return position.seq if any(chat.chat_id == holder.chat_id for holder in holders) else 0

        return Start(after, self.cursors.last_seq, position.foreign)

    def cursor(self, seq: int, chats: Sequence[LiveChat], *, wide: bool) -> str:
        """The cursor of a reader of these chats who has read up to `seq`."""
        return self.cursors.at(seq, None if wide or len(chats) != 1 else chats[0].chat_id)

    def scope(self, only: Sequence[LiveChat] | None = None) -> Scope:
        """These chats, or all that the caller may see, also those that are attached later."""
        return Scope(self._registry, self.sees, only)

    def feed(
        self, types: Iterable[str] | None = None, *, only: Sequence[LiveChat] | None = None, after: int = 0
    ) -> Feed:
        """Events as they come, of these chats or of all that the caller may see."""
        return Feed(self.scope(only), None if types is None else frozenset(types), after=after)

    def wait(self, only: Sequence[LiveChat] | None, start: Start, wanted: Filter, until: Sequence[Trigger]) -> Wait:
        """A sleeper over these chats, or (`None`) over all that the caller may see."""
        return Wait(
            self.scope(only),
            wanted,
            until,
            caller=self.caller.id,
            read_to=lambda chat: start.after(chat.record),
            reserve=self._registry.house.ledger.reserve,
            clock=self.clock,
            waits=self._registry.waits,
            account=self.caller.principal.key if self.caller.principal is not None else None,
        )

    def no_longer_awaited(self, request: str, *, timed_out: bool) -> None:
        """The caller's client no longer waits for the answer to this request; see `Patience.cancelled`."""
        patience, now = self._registry.waits.patience, self.clock.elapsed()
        patience.cancelled(self.caller.id, request, now, timed_out=timed_out)

    # Acting

    def _command(self) -> None:
        self._limits.command(self.caller, self.clock.elapsed())

    async def speak(
        self, chat_id: str, command: UserInput | AssistantInput, *, unless_user_spoke_after: str | None, wait_s: float
    ) -> Receipt:
        """Says something as the user or as EVI; raises as `chat` and as `speaking.speak`."""
        chat, condition, terms = self.chat(chat_id), None, dict[str, str]()
        self._command()
        if unless_user_spoke_after:
            condition = speaking.UnlessUserSpoke(self.cursors, self.position(unless_user_spoke_after))
            terms = {"unless_user_spoke_after": unless_user_spoke_after}
        return await speaking.speak(chat, command, by=self.caller, condition=condition, terms=terms, wait_s=wait_s)

    async def answer_tool_call(
        self,
        chat_id: str,
        tool_call_id: str,
        content: str,
        *,
        is_error: bool = False,
        error: str | None = None,
        code: str | None = None,
        wait_s: float = 0.0,
    ) -> Receipt:
        """Answers a tool call.

        Raises:
            InvalidArgument: The arguments do not go together.
            EviMcpError: As `chat` and as the functions of `answering`.
        """
        if not is_error and (error is not None or code is not None):
            raise InvalidArgument("`error` and `code` go with is_error=true; nothing was sent.")
        chat = self.chat(chat_id)
        call: TrackedCall = answering.find_call(chat, tool_call_id)
        command = answering.answer_of(call, content, is_error=is_error, error=error, code=code)
        self._command()
        return await answering.answer(chat, call, command, by=self.caller, wait_s=wait_s)

    async def update_session_settings(self, chat_id: str, command: SessionSettings) -> Receipt:
        """Changes the running chat's settings; raises as `chat` and as `settings.update_session_settings`."""
        chat = self.chat(chat_id)
        self._command()
        return await settings.update_session_settings(chat, command, by=self.caller)

    async def pause(self, chat_id: str, resume_after_s: float) -> Receipt:
        """Silences EVI; raises as `chat` and as `pausing.pause`."""
        chat = self.chat(chat_id)
        self._command()
        return await pausing.pause(chat, by=self.caller, resume_after_s=resume_after_s)

    async def resume(self, chat_id: str) -> Receipt:
        """Lets EVI speak again, whatever the caller has done before; raises as `chat` and as `pausing.resume`."""
        return await pausing.resume(self.chat(chat_id), by=self.caller)

    async def end_chat(self, chat_id: str) -> Receipt:
        """Ends the call; raises as `chat` and as `ending.end_chat`."""
        chat = self.chat(chat_id)
        self._command()
        return await ending.end_chat(chat, by=self.caller)

    async def transfer_chat(self, chat_id: str, target_uri: str) -> Receipt:
        """Hands the call on; raises as `chat` and as `ending.transfer_chat`."""
        chat = self.chat(chat_id)
        self._command()
        return await ending.transfer_chat(chat, target_uri, by=self.caller)
