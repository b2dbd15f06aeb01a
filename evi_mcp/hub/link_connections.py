"""One bot on the link: its claim on a chat, and the WebSocket that it has now. No sockets, no clock, no awaiting.

A `LinkSession` is a bot's claim on a chat and lives as long as the chat; a `LinkConnection` is one WebSocket.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol

from evi_mcp.hub.chat import NOTED, HubChat
from evi_mcp.hub.chats import Chats, TooManyChats
from evi_mcp.hub.closes import NORMAL_CLOSURE, POLICY_VIOLATION, TRY_AGAIN_LATER, Close
from evi_mcp.hub.commands import MAX_WRITES, Delivery
from evi_mcp.hub.hello import Hello, HelloRefused, count_of, read_hello
from evi_mcp.hub.json_frames import Unreadable, read, write

MAX_FAULTS = 10
"""Frames of one connection that cannot be read; then it is closed."""
MAX_REASON = 500

COMMAND_RESULT = "command_result"
"""The type of the message that says that a bot has carried out a command which no message of EVI's shows."""
DROPPED = "messages_dropped"
"""The type of the message that stands in the chat for numbers that the bot left out."""

MAX_COMMAND_BYTES = 2**20 - 2**10
"""With what is around it, a mebibyte: a bot reads it while it is to speak."""

_MOST_TAKEN = 64


class LinkSession:
    """A bot's claim on one chat; what `Source` asks for.

    Args:
        chat: Its chat.
        token: What the bot has to show when it comes back.
    """

    max_command_bytes = MAX_COMMAND_BYTES

    def __init__(self, chat: HubChat, token: str) -> None:
        self.chat = chat
        self.token = token
        self.received = 0
        """Every message up to this number was taken."""
        self.connection: LinkConnection | None = None
        self.away_since: float | None = None
        self.given_up = False
        """Whether the chat ended because the bot was away for too long."""

    @property
    def away(self) -> bool:
        return self.connection is None

    def deliver(self, delivery: Delivery) -> None:
        if self.connection is not None:
            self.connection.tell()


class Reception(Protocol):
    """Where bots are let in, and given their sessions."""

    @property
    def chats(self) -> Chats:
        """Where their chats are."""
        ...

    def greet(self, hello: Hello, at_ms: int) -> LinkSession:
        """The session of a bot: its own if it resumes one that is known, else a new one with a new chat.

        Raises:
            HelloRefused: Its chat id is taken, or its chat has ended.
            TooManyChats: There is no room.
        """
        ...

    def forget(self, connection: "LinkConnection") -> None:
        """A connection is over."""
        ...


class LinkConnection:
    """One WebSocket of a bot: frames in by `receive`, frames out by `take`."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._outgoing: deque[bytes] = deque()
        self._acknowledged = 0
        self._closing: Close | None = None
        self.session: LinkSession | None = None
        self.faults = 0
        self.last_fault = ""
        self.on_news: Callable[[], None] | None = None
        """Called when there is something to write; its owner may set it."""

    @property
    def close(self) -> Close | None:
        """How the connection is to be closed, once everything was taken."""
        return self._closing if not self._outgoing else None

    @property
    def can_wait(self) -> bool:
        """Whether there is nothing to write but an acknowledgement."""
        return not self._outgoing and self._closing is None and not any(self._unwritten())

    @property
    def chat_id(self) -> str | None:
        """The chat of its bot, once there is one."""
        return None if self.session is None else self.session.chat.chat_id

    def receive(self, frame: str | bytes, at_ms: int) -> None:
        """A frame from the bot. One that cannot be read is counted, and ends the connection the tenth time.

        Args:
            frame: As it came.
            at_ms: Unix milliseconds.
        """
        if self._closing is not None:
            return
        try:
            value = read(frame)
            if self.session is None:
                self._welcome(self._reception.greet(read_hello(value), at_ms))
            elif "n" in value:
                self._message(self.session, value, at_ms)
            elif "done" in value or "refused" in value:
                self._outcome(self.session, value, at_ms)
            elif value.get("type") == "end":
                self._end(self.session, value, at_ms)
            elif value.get("type") == "caught_up":
                self.session.chat.returning = False
            else:
                raise Unreadable("an object that is no frame of this protocol")
        except HelloRefused as refusal:
            self.leave(str(refusal), POLICY_VIOLATION)
        except TooManyChats:
            self.leave("the hub has as many chats as it takes; try again later", TRY_AGAIN_LATER)
        except Unreadable as error:
            self._fault(str(error))

    def take(self) -> list[str]:
        """The next frames to write; none if there is nothing to write now."""
        frames: list[bytes] = []
        for delivery in islice(self._unwritten(), _MOST_TAKEN):
            delivery.written_on = self
            delivery.writes += 1
            frames.append(write({"command": delivery.message, "id": delivery.id}))
        if self.session is not None and self.session.connection is self and self.session.received > self._acknowledged:
            self._acknowledged = self.session.received
            frames.append(write({"ack": self._acknowledged}))
        # A welcome comes before everything, a goodbye after it.
        frames = [*frames, *self._outgoing] if self._closing is not None else [*self._outgoing, *frames]
        self._outgoing.clear()
        return [frame.decode() for frame in frames]

    def leave(self, reason: str, code: int) -> None:
        """Says goodbye, and closes the connection after it. The first call counts."""
        if self._closing is None:
            self._outgoing.append(write({"type": "goodbye", "reason": reason}))
            self._closing = Close(code, reason)
            self.tell()

    def gone(self, now: float) -> None:
        """The connection is over. The chat goes on without its bot for a while."""
        self._reception.forget(self)
        if self.session is not None and self.session.connection is self:
            self.session.connection = None
            self.session.away_since = now

    def tell(self) -> None:
        """Says that there is something to write."""
        if self.on_news is not None:
            self.on_news()

    def _unwritten(self) -> Iterator[Delivery]:
        """The commands that were not written on this connection; those whose outcome is unknown are written again."""
        if self._closing is None and self.session is not None and self.session.connection is self:
            for delivery in self.session.chat.pending:
                if delivery.written_on is not self:
                    if delivery.writes >= MAX_WRITES:
                        self.session.chat.give_up(delivery)
                    else:
                        yield delivery

    def _welcome(self, session: LinkSession) -> None:
        if session.connection is not None:
            session.connection.leave("another connection has resumed this link", POLICY_VIOLATION)
        self.session, session.connection, session.away_since = session, self, None
        self._acknowledged = session.received
        facts = {"chat_id": session.chat.chat_id, "token": session.token, "received": session.received}
        self._outgoing.append(write({"type": "welcome", **facts}))
        self.tell()

    def _message(self, session: LinkSession, value: Mapping[str, Any], at_ms: int) -> None:
        n, message = count_of(value["n"]), value.get("message")
        if not n:
            raise Unreadable("an n that is not a whole number from 1 on")
        if n <= session.received:
            return  # it was sent again, since the bot could not know that it had arrived
        missing = n - session.received - 1
        if session.received == self._acknowledged:
            self.tell()
        session.received = n  # taken, whatever it is: it would else come again and again
        if missing:
            said = {
                "type": DROPPED,
                "counts": {"unknown": missing},
                "reason": "the bot left out numbers",
                "message": f"{missing} messages of the bot did not come; what was in them is not known.",
            }
            self._reception.chats.publish(session.chat, said, at_ms)
        if not isinstance(message, dict):
            raise Unreadable("a message that is not an object")
        self._reception.chats.publish(session.chat, message, at_ms)

    def _outcome(self, session: LinkSession, value: Mapping[str, Any], at_ms: int) -> None:
        id_ = value.get("done", value.get("refused"))
        if not isinstance(id_, str):
            raise Unreadable("an outcome whose id is not text")
        if "done" in value:
            delivery = session.chat.done(id_, at_ms)
            if delivery is not None and delivery.type in NOTED:
                # No message of EVI's shows these; whoever sent one waits for a sign that it took effect.
                shown = {"type": COMMAND_RESULT, "command": delivery.type, "status": "confirmed"}
                self._reception.chats.publish(session.chat, shown, at_ms)
            self._reception.chats.measure(session.chat)
        else:
            reason = value.get("reason")
            session.chat.refused(id_, reason[:MAX_REASON] if isinstance(reason, str) else "no reason given")

    def _end(self, session: LinkSession, value: Mapping[str, Any], at_ms: int) -> None:
        reason = value.get("reason")
        said = reason[:MAX_REASON] if isinstance(reason, str) and reason.strip() else "the bot ended the chat"
        self._reception.chats.end(session.chat, "USER_ENDED", Close(NORMAL_CLOSURE, said), at_ms)
        self.leave("the chat has ended", NORMAL_CLOSURE)

    def _fault(self, why: str) -> None:
        self.faults += 1
        self.last_fault = why
        if self.session is None:
            self.leave(f"the first frame could not be read: {why}", POLICY_VIOLATION)
        elif self.faults >= MAX_FAULTS:
            self.leave(f"{self.faults} frames could not be read; the last was {why}", POLICY_VIOLATION)
