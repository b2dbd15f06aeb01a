"""One chat of the hub: what its source publishes, who consumes it, and the commands between them.

No sockets, no clock, no awaiting: times are arguments. `now` is seconds of a clock that nobody sets, `at_ms` is Unix
milliseconds for showing.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from pydantic import ValidationError

from evi_mcp.hub.closes import Ending
from evi_mcp.hub.commands import SPOKEN, CommandRefused, Delivery, NotDelivered, OutcomeUnknown, Pending, check
from evi_mcp.hub.consumers import Consumer
from evi_mcp.hub.facts import Facts
from evi_mcp.hub.history import History
from evi_mcp.hub.json_frames import LARGE, NotJson, Unreadable, read, write
from evi_mcp.hub.mirrors import MIRRORED, Mirrors
from evi_mcp.protocol.redaction import redact

NOT_JSON = ("E0100", "invalid_json")
NOT_A_MESSAGE = ("E0101", "invalid_message")
"""Codes as on Hume's page of errors; it could not be read which slugs belong to them."""

PAUSE, RESUME = "pause_assistant_message", "resume_assistant_message"
NOTED = frozenset({PAUSE, RESUME})
"""Commands that only the REST history shows, as EVI's does."""

MAX_CONSUMERS = 100
MAX_TYPE = 100


class NotBackYet(Exception):
    """The source is still telling what it told another hub: to a consumer of that, it would look new."""


class TooManyConsumers(Exception):
    """A chat takes no more connections."""


class Source(Protocol):
    """Where the messages of a chat come from, and its commands go."""

    @property
    def max_command_bytes(self) -> int:
        """The largest command that it takes, as JSON."""
        ...

    @property
    def away(self) -> bool:
        """Whether it cannot be reached now, and may come back."""
        ...

    def deliver(self, delivery: Delivery) -> None:
        """Takes a command, or leaves it among the pending ones until it is back."""
        ...


class HubChat:
    """A chat from its opening to its end.

    Args:
        facts: Its id and so on.
        history: What is kept of it.
        started_ms: When it was opened.
        new_id: Makes ids for commands and connections, each once.
    """

    def __init__(self, facts: Facts, history: History, *, started_ms: int, new_id: Callable[[], str]) -> None:
        self.facts = facts
        self.history = history
        self.started_ms = started_ms
        self.ended_ms: int | None = None
        self.ending: Ending | None = None
        self.pending = Pending()
        self.source: Source | None = None
        self.consumers: dict[Consumer, None] = {}
        self.returning = False
        """Whether its source is still telling the past, which another hub knew."""
        self._mirrors = Mirrors()
        self._paused = False
        self._new_id = new_id

    def __repr__(self) -> str:
        return f"<HubChat {self.facts.chat_id}: {self.status}, {len(self.history)} messages>"

    @property
    def chat_id(self) -> str:
        return self.facts.chat_id

    @property
    def status(self) -> str:
        """As the REST API states it: `ACTIVE`, or that of its end."""
        return "ACTIVE" if self.ending is None else self.ending.status

    @property
    def away(self) -> bool:
        """Whether its source cannot be reached now."""
        return self.source is None or self.source.away

    # From the source

    def publish(self, message: Mapping[str, Any], at_ms: int) -> None:
        """A message of the chat: it joins the history and goes to every consumer. After the end nothing happens.

        Raises:
            Unreadable: It is no object with a type, or cannot be written as JSON.
        """
        kind = message.get("type")
        if not isinstance(kind, str) or not 0 < len(kind) <= MAX_TYPE:
            raise Unreadable("a message without a type")
        if self.ending is not None:
            return
        if kind == "chat_metadata":
            self._describe(message)
        elif self._mirrors.bot_shows(message, expected=len(self.pending) > 0):
            self._add(redact(message) if kind == "session_settings" else message, at_ms)

    def _add(self, message: Mapping[str, Any], at_ms: int, sender: Consumer | None = None) -> None:
        kind, message_id, frame = str(message["type"]), message.get("id"), write(message)
        self.history.append(
            kind,
            at_ms,
            frame,
            interim=kind == "user_message" and message.get("interim") is True,
            message_id=message_id if isinstance(message_id, str) else None,
        )
        for consumer in tuple(self.consumers):
            if consumer is not sender:
                consumer.push(frame)

    def _describe(self, message: Mapping[str, Any]) -> None:
        """The source says more of the chat: whoever is connected is told, and whoever comes. Ids stay the hub's."""
        ours = ("type", "chat_id", "chat_group_id", "request_id", "source", "supports")
        more = {name: value for name, value in message.items() if name not in ours}
        if len(write(more)) > LARGE:
            raise Unreadable("a chat_metadata that is too large")
        self.facts.more = more
        for consumer in tuple(self.consumers):
            consumer.push(self.facts.chat_metadata(self._new_id()))

    # From consumers

    def attach(self) -> Consumer:
        """A new consumer, which gets its own `chat_metadata`, the history, and then what happens.

        Raises:
            TooManyConsumers: There are as many as a chat may have.
            NotBackYet: Its past has not all come.
        """
        if self.returning:
            raise NotBackYet
        if len(self.consumers) >= MAX_CONSUMERS:
            raise TooManyConsumers
        consumer = Consumer(self.facts.chat_metadata(self._new_id()), self.history.replay())
        self.consumers[consumer] = None
        return consumer

    def detach(self, consumer: Consumer) -> None:
        """A consumer has gone. It leaves no trace; its commands are carried out."""
        self.consumers.pop(consumer, None)

    def receive(self, frame: str | bytes, sender: Consumer, now: float) -> None:
        """A frame from a consumer. What cannot be used is answered with an `error` to this consumer alone."""
        try:
            value = read(frame)
        except Unreadable as error:
            kind = NOT_JSON if isinstance(error, NotJson) else NOT_A_MESSAGE
            sender.fault(*kind, f"The frame cannot be used: {error}.")
            return
        try:
            self.command(value, sender, now)
        except ValidationError as error:
            why = f"The message cannot be used: {summary(error)}."
            if value.get("type") == "audio_input":
                why = "audio_input is accepted on the chat's own connection only."
            sender.fault(*NOT_A_MESSAGE, why)
        except CommandRefused as refusal:
            tell(sender, refusal, value)

    def command(self, value: Any, sender: Consumer | None, now: float) -> None:
        """A command: the object in a frame, or the body of `/send` (then `sender` is `None`).

        Raises:
            ValidationError: It is none; nothing has happened.
            NotSupported, NotDelivered: It does not reach the bot.
        """
        message = check(value, self.facts.supports, self.facts.source_name)
        if self.ending is not None or self.source is None:
            raise NotDelivered(message["type"], "the chat is over")
        if sender is None and self.away and message["type"] in SPOKEN:
            raise NotDelivered(message["type"], "the bot cannot be reached at the moment; try again")
        delivery = Delivery(self._new_id(), message, sender, now)
        self.pending.add(delivery, self.source.max_command_bytes)
        self.source.deliver(delivery)

    # What became of commands

    def done(self, id_: str, at_ms: int) -> Delivery | None:
        """The bot has carried a command out; the others see what they are to see of it. Returns the command; `None` if
        it is not known, or the chat is over."""
        delivery = self.pending.settle(id_)
        if delivery is None or self.ending is not None:
            return None
        if delivery.type in MIRRORED:
            if self._mirrors.hub_shows(delivery.message):
                # Its sender's own socket does not get it back (issue 388 of the React SDK).
                self._add(redact(delivery.message), at_ms, delivery.sender)
        elif delivery.type in NOTED:
            self._paused = delivery.type == PAUSE
            self.history.append(delivery.type, at_ms, write(delivery.message), shown=False)
        return delivery

    def refused(self, id_: str, reason: str | None) -> None:
        """The bot does not carry a command out. Its sender is told, unless there is no reason: then the bot has told
        everybody."""
        delivery = self.pending.settle(id_)
        if delivery is not None and reason is not None and delivery.sender is not None:
            tell(delivery.sender, CommandRefused(delivery.type, reason), delivery.message)

    def give_up(self, delivery: Delivery) -> None:
        """The link breaks whenever the bot is given this command. Its sender is told that it may have taken effect."""
        if self.pending.settle(delivery.id) is not None and delivery.sender is not None:
            tell(
                delivery.sender, OutcomeUnknown(delivery.type, "the link broke each time it was sent"), delivery.message
            )

    def forget_late(self, now: float) -> None:
        """Gives up commands that can no longer be delivered in time, and tells their senders."""
        for delivery, refusal in self.pending.forget_late(now, away=self.away):
            if refusal is not None and delivery.sender is not None:
                tell(delivery.sender, refusal, delivery.message)

    # Its end

    def end(self, ending: Ending, at_ms: int) -> None:
        """Ends the chat. Every consumer is closed once it has got everything; only the first call counts."""
        if self.ending is not None:
            return
        self.ending, self.ended_ms = ending, at_ms
        self.pending.drop_all_but(RESUME)
        self.history.drop_audio()
        for consumer in tuple(self.consumers):
            consumer.finish(ending.close)

    def promise_resume(self, now: float) -> None:
        """The chat is about to be given up. If its bot is paused and comes back later, it may speak again: who paused
        it was told that the chat is over, and will not do it."""
        if self._paused:
            self._paused = False
            with suppress(CommandRefused):
                self.command({"type": RESUME}, None, now)

    def reopen(self) -> None:
        """The source of a chat that was given up is back."""
        self.ending = self.ended_ms = None


def tell(sender: Consumer, refusal: CommandRefused, message: Mapping[str, Any]) -> None:
    """Tells the sender of a command, and nobody else, that it is not carried out."""
    call = message.get("tool_call_id")
    facts = {"command": refusal.command, **({"tool_call_id": call} if isinstance(call, str) else {})}
    sender.error(refusal.code, refusal.slug, str(refusal), **facts)


def summary(error: ValidationError) -> str:
    """The first wrong fields, without their values: one of them may be a secret."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)[:3]
    return "; ".join(f"{'.'.join(map(str, problem['loc'][1:])) or 'message'}: {problem['msg']}" for problem in problems)
