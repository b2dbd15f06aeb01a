"""Bots that dial in: the hub's side of the link. No sockets, no clock, no awaiting.

A `LinkSession` is a bot's claim on a chat and lives as long as the chat; a `LinkConnection` is one WebSocket. A bot
that comes back proves by its token that the session is its own: it is told how much the hub has, sends the rest, and
gets the commands whose outcome the hub does not know.
"""

import hmac
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from evi_mcp.hub.chat import HubChat
from evi_mcp.hub.chats import ChatIdTaken, Chats, TooManyChats
from evi_mcp.hub.closes import GOING_AWAY, NORMAL_CLOSURE, POLICY_VIOLATION, TRY_AGAIN_LATER, Close
from evi_mcp.hub.commands import MAX_WRITES, Delivery
from evi_mcp.hub.hello import Hello, HelloRefused, count_of, read_hello
from evi_mcp.hub.json_frames import Unreadable, read, write

GRACE_S = 60.0
"""For how long a chat whose link is lost is kept; then it ends."""
RETURN_MS = 30_000
"""For how long a bot that comes from another hub may tell the past, before consumers are let in."""
MAX_LINKS = 5000
MAX_FAULTS = 10
"""Frames of one connection that cannot be read; then it is closed."""
MAX_REASON = 500

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


class LinkConnection:
    """One WebSocket of a bot: frames in by `receive`, frames out by `take`."""

    def __init__(self, links: "Links") -> None:
        self._links = links
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
                self._welcome(self._links.greet(read_hello(value), self, at_ms))
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
        self._links.forget(self)
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
            self._links.chats.publish(session.chat, said, at_ms)
        if not isinstance(message, dict):
            raise Unreadable("a message that is not an object")
        self._links.chats.publish(session.chat, message, at_ms)

    def _outcome(self, session: LinkSession, value: Mapping[str, Any], at_ms: int) -> None:
        id_ = value.get("done", value.get("refused"))
        if not isinstance(id_, str):
            raise Unreadable("an outcome whose id is not text")
        if "done" in value:
            session.chat.done(id_, at_ms)
            self._links.chats.measure(session.chat)
        else:
            reason = value.get("reason")
            session.chat.refused(id_, reason[:MAX_REASON] if isinstance(reason, str) else "no reason given")

    def _end(self, session: LinkSession, value: Mapping[str, Any], at_ms: int) -> None:
        reason = value.get("reason")
        said = reason[:MAX_REASON] if isinstance(reason, str) and reason.strip() else "the bot ended the chat"
        self._links.chats.end(session.chat, "USER_ENDED", Close(NORMAL_CLOSURE, said), at_ms)
        self.leave("the chat has ended", NORMAL_CLOSURE)

    def _fault(self, why: str) -> None:
        self.faults += 1
        self.last_fault = why
        if self.session is None:
            self.leave(f"the first frame could not be read: {why}", POLICY_VIOLATION)
        elif self.faults >= MAX_FAULTS:
            self.leave(f"{self.faults} frames could not be read; the last was {why}", POLICY_VIOLATION)


class Links:
    """All links of the hub.

    Args:
        chats: Where their chats are.
        new_token: Makes tokens that nobody can guess.
        grace_s: For how long a chat is kept whose link is lost, in seconds.
    """

    def __init__(self, chats: Chats, new_token: Callable[[], str], *, grace_s: float = GRACE_S) -> None:
        self.chats = chats
        self.grace_s = grace_s
        self.connections: set[LinkConnection] = set()
        self._new_token = new_token
        self._sessions: dict[str, LinkSession] = {}

    def connect(self) -> LinkConnection | None:
        """A new connection; `None` if there are as many as there may be."""
        if len(self.connections) >= MAX_LINKS:
            return None
        connection = LinkConnection(self)
        self.connections.add(connection)
        return connection

    def forget(self, connection: LinkConnection) -> None:
        """A connection is over."""
        self.connections.discard(connection)

    def greet(self, hello: Hello, connection: LinkConnection, at_ms: int) -> LinkSession:
        """The session of a bot: its own if it resumes one that is known, else a new one with a new chat.

        Raises:
            HelloRefused: Its chat id is taken, or its chat has ended.
            TooManyChats: There is no room.
        """
        if hello.resume is not None:
            session = self._known(hello.resume.chat_id)
            if session is not None and _equal(session.token, hello.resume.token):
                return self._resume(session, hello.resume.sent)
            if session is not None and session.chat.ending is None:
                raise HelloRefused("the token is not that of the live chat with this id")
        chat_id = hello.chat_id or (hello.resume.chat_id if hello.resume else None)
        self._make_way(chat_id, at_ms)
        try:
            chat = self.chats.open(
                started_ms=at_ms,
                chat_id=chat_id,
                chat_group_id=hello.chat_group_id,
                source=hello.source,
                supports=hello.supports,
                metadata=hello.metadata,
            )
        except ChatIdTaken:
            raise HelloRefused(f"a live chat has the id {chat_id} already; take another") from None
        session = LinkSession(chat, self._new_token())
        chat.source = session
        chat.returning = hello.resume is not None and hello.resume.tells_past
        self._sessions[chat.chat_id] = session
        return session

    def expire(self, now: float, at_ms: int) -> None:
        """Ends the chats whose bots have been away for too long. To be called about once a second."""
        for chat_id, session in tuple(self._sessions.items()):
            if session.chat.returning and at_ms >= session.chat.started_ms + RETURN_MS:
                session.chat.returning = False
            if self.chats.get(chat_id) is not session.chat:
                del self._sessions[chat_id]
            elif session.away_since is not None and now >= session.away_since + self.grace_s:
                session.away_since, session.given_up = None, True
                session.chat.promise_resume(now)
                reason = f"the bot was gone for {self.grace_s:g} s without a goodbye"
                self.chats.end(session.chat, "ERROR", Close(NORMAL_CLOSURE, reason), at_ms)

    def shut_down(self) -> None:
        """Says goodbye to every bot; their chats do not end."""
        for connection in tuple(self.connections):
            connection.leave("the hub is shutting down; connect again", GOING_AWAY)

    def _known(self, chat_id: str) -> LinkSession | None:
        session = self._sessions.get(chat_id)
        return session if session is not None and self.chats.get(chat_id) is session.chat else None

    def _resume(self, session: LinkSession, sent: int) -> LinkSession:
        if session.chat.ending is not None and not (session.given_up and self.chats.reopen(session.chat)):
            raise HelloRefused("the chat has ended")
        session.given_up = False
        # A bot that has lost count goes on from its own number: what comes next is new, not known already.
        session.received = min(session.received, sent)
        return session

    def _make_way(self, chat_id: str | None, at_ms: int) -> None:
        """Ends the chat of a bot that is away, when another one comes for its id: most likely it was started anew."""
        session = self._known(chat_id) if chat_id is not None else None
        if session is not None and session.away and session.chat.ending is None:
            session.away_since = None
            self.chats.end(
                session.chat, "ERROR", Close(NORMAL_CLOSURE, "the bot came back as a new one, without its token"), at_ms
            )


def _equal(token: str, shown: str) -> bool:
    return hmac.compare_digest(token.encode(), shown.encode("utf-8", "replace"))
