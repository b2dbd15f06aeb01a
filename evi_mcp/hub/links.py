"""Bots that dial in: the hub's side of the link. No sockets, no clock, no awaiting.

A bot that comes back proves by its token that the session is its own: it is told how much the hub has, sends the
rest, and gets the commands whose outcome the hub does not know.
"""

import hmac
from collections.abc import Callable

from evi_mcp.hub.chats import ChatIdTaken, Chats
from evi_mcp.hub.closes import GOING_AWAY, NORMAL_CLOSURE, Close
from evi_mcp.hub.hello import Hello, HelloRefused
from evi_mcp.hub.link_connections import LinkConnection, LinkSession

GRACE_S = 60.0
"""For how long a chat whose link is lost is kept; then it ends."""
RETURN_MS = 30_000
"""For how long a bot that comes from another hub may tell the past, before consumers are let in."""
MAX_LINKS = 5000


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

    def greet(self, hello: Hello, at_ms: int) -> LinkSession:
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
