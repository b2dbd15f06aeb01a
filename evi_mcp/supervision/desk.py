"""A desk: all that one caller may see and do, and the only way to the chats.

Tools, resources, lists, completions, prompts, subscriptions and waits all pass here, so that a caller who may see one
chat finds no trace of another.
"""

from collections.abc import Iterable, Sequence

from evi_mcp.chat.pages import Filter, Readable, Start
from evi_mcp.chat.triggers import Trigger
from evi_mcp.errors import EviMcpError, InvalidArgument
from evi_mcp.ledger.cursors import EARLIEST, LATEST, Position
from evi_mcp.protocol.commands import AssistantInput, SessionSettings, UserInput
from evi_mcp.quoting import meant
from evi_mcp.supervision.actions import answering, barging, ending, pausing, recalling, settings, speaking
from evi_mcp.supervision.arrivals import Arrival
from evi_mcp.supervision.callers_chats import CallersChats
from evi_mcp.supervision.feed import Feed, Scope
from evi_mcp.supervision.intents import Receipt
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.supervision.refusals import GuardsNothing
from evi_mcp.supervision.waiting import Wait


class Desk(CallersChats):
    """What a caller works at; made by `Service.desk`."""

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

    def wait(
        self,
        only: Sequence[LiveChat] | None,
        start: Start,
        wanted: Filter,
        until: Sequence[Trigger],
        *,
        shared: bool = False,
    ) -> Wait:
        """A sleeper over these chats, or (`None`) over all that the caller may see. `shared`: several programs may be
        behind the caller, which are told apart by what they claim to be."""
        return Wait(
            self.scope(only),
            wanted,
            until,
            caller=self.caller.id,
            read_to=lambda chat: start.after(chat.record),
            reserve=self._registry.house.ledger.reserve,
            clock=self.clock,
            waits=self._registry.waits,
            arrivals=self._registry.arrivals if only is None else None,
            account=self.caller.principal.key if self.caller.principal is not None else None,
            client=f"{self.caller.id}/{self.caller.claimed}" if shared else self.caller.id,
        )

    def no_longer_awaited(self, request: str, *, timed_out: bool) -> None:
        """The caller's client no longer waits for the answer to this request; see `Patience.cancelled`."""
        patience, now = self._registry.waits.patience, self.clock.elapsed()
        patience.cancelled(self.caller.id, request, now, timed_out=timed_out)

    @property
    def hears_of_new_chats(self) -> bool:
        """Whether it is known at once when a chat begins."""
        return self._registry.arrivals.are_known

    def new_chats(self, after: int) -> list[Arrival]:
        """The chats that have begun since a number, go on, may be seen, and are not attached."""
        found = self._registry.arrivals.after(after)
        return [new for new in found if self.sees(new.chat.chat_id) and not self._registry.find(new.chat.chat_id)]

    # Acting

    def _command(self) -> None:
        self._limits.command(self.caller, self.clock.elapsed())

    async def speak(
        self, chat_id: str, command: UserInput | AssistantInput, *, unless_user_spoke_after: str, wait_s: float
    ) -> Receipt:
        """Says something as the user or as EVI; raises as `reach` and as `speaking.speak`."""
        guard = self._guard(unless_user_spoke_after)
        chat = await self.reach(chat_id)
        self._command()
        return await speaking.speak(chat, command, by=self.caller, guard=guard, wait_s=wait_s)

    def _guard(self, cursor: str) -> speaking.UnlessUserSpoke | None:
        """The condition that a cursor stands for; `None` for none.

        Raises:
            GuardsNothing, InvalidCursor: It is no place at which a caller can have decided.
        """
        if not cursor:
            return None
        if cursor in (EARLIEST, LATEST):
            raise GuardsNothing(cursor)
        return speaking.UnlessUserSpoke(self.cursors, self.position(cursor), cursor)

    async def barge_in(
        self, chat_id: str, command: AssistantInput, *, unless_user_spoke_after: str, resume: bool, limit_s: float
    ) -> barging.BargeIn:
        """Pauses EVI, has it speak a line and lets it go on; raises as `reach` and as `barging.barge_in`."""
        guard = self._guard(unless_user_spoke_after)
        chat = await self.reach(chat_id)
        self._command()
        return await barging.barge_in(chat, command, by=self.caller, guard=guard, resume=resume, limit_s=limit_s)

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
            EviMcpError: As `reach` and as the functions of `answering`.
        """
        if not is_error and (error is not None or code is not None):
            raise InvalidArgument("`error` and `code` go with is_error=true; nothing was sent.")
        if not is_error and not content.strip():
            raise InvalidArgument(
                "content is empty, so EVI would get no result and nothing was sent: give some words, or is_error=true"
                " if the tool has failed."
            )
        chat = await self.reach(chat_id)
        known = (call.tool_call_id for call in chat.record.tool_calls)
        call = answering.find_call(chat, meant(tool_call_id, known))
        command = answering.answer_of(call, content, is_error=is_error, error=error, code=code)
        self._command()
        return await answering.answer(chat, call, command, by=self.caller, wait_s=wait_s)

    async def update_session_settings(self, chat_id: str, command: SessionSettings) -> Receipt:
        """Changes the running chat's settings; raises as `reach` and as `settings.update_session_settings`."""
        chat = await self.reach(chat_id)
        self._command()
        return await settings.update_session_settings(chat, command, by=self.caller)

    async def pause(self, chat_id: str, resume_after_s: float) -> Receipt:
        """Silences EVI; raises as `reach` and as `pausing.pause`."""
        chat = await self.reach(chat_id)
        self._command()
        return await pausing.pause(chat, by=self.caller, resume_after_s=resume_after_s)

    async def resume(self, chat_id: str) -> Receipt:
        """Lets EVI speak again, whatever the caller has done before; raises as `reach` and as `pausing.resume`."""
        return await pausing.resume(await self.reach(chat_id), by=self.caller)

    async def recap(self, chat: LiveChat) -> str | None:
        """Has the model of an attached chat recall what was said before the attach; why it has not, in a sentence, or
        `None` once its account is in the log."""
        try:
            self._command()
            receipt = await recalling.recap(chat, by=self.caller)
        except EviMcpError as error:
            return str(error)
        return None if receipt.confirmed_by is not None else receipt.warning or "the model has not answered yet."

    async def end_chat(self, chat_id: str) -> Receipt:
        """Ends the call; raises as `reach` and as `ending.end_chat`."""
        chat = await self.reach(chat_id)
        self._command()
        return await ending.end_chat(chat, by=self.caller)

    async def transfer_chat(self, chat_id: str, target_uri: str) -> Receipt:
        """Hands the call on; raises as `reach` and as `ending.transfer_chat`."""
        chat = await self.reach(chat_id)
        self._command()
        return await ending.transfer_chat(chat, target_uri, by=self.caller)
