"""A hub without sockets: a test plays the bots and the consumers, and time is a number."""

import json
from itertools import count
from typing import Any

from evi_mcp.hub.chat import HubChat
from evi_mcp.hub.chats import Chats, Limits
from evi_mcp.hub.consumers import Consumer
from evi_mcp.hub.link_connections import LinkConnection
from evi_mcp.hub.links import Links

AT_MS = 1_800_000_000_000
CHAT = "chat-1"

Message = dict[str, Any]


def line(text: str, **fields: Any) -> Message:
    """A message of EVI's voice."""
    return {"type": "assistant_message", "message": {"role": "assistant", "content": text}, **fields}


def frames_of(outgoing: Consumer | LinkConnection) -> list[Message]:
    """All that is written to a peer now."""
    found: list[Message] = []
    while frames := outgoing.take():
        found += map(json.loads, frames)
    return found


def texts_of(consumer: Consumer) -> list[str]:
    """The lines that a consumer is sent now."""
    return [frame["message"]["content"] for frame in frames_of(consumer) if frame["type"] == "assistant_message"]


class Rig:
    """The hub's engine."""

    def __init__(self, limits: Limits | None = None, grace_s: float = 60.0) -> None:
        ids, tokens = count(1), count(1)
        self.now = 100.0
        self.chats = Chats(lambda: f"id-{next(ids)}", limits)
        self.links = Links(self.chats, lambda: f"token-{next(tokens)}", grace_s=grace_s)

    def bot(self, chat_id: str | None = CHAT, **hello: Any) -> "RigBot":
        """A bot that has dialled in and been welcomed, or said goodbye to."""
        bot = RigBot(self)
        bot.dial(**({} if chat_id is None else {"chat_id": chat_id}), **hello)
        return bot

    def chat(self, chat_id: str = CHAT) -> HubChat:
        chat = self.chats.get(chat_id)
        assert chat is not None
        return chat

    def send(self, sender: Consumer, type_: str, chat_id: str = CHAT, **fields: Any) -> None:
        """A consumer sends a command."""
        self.chat(chat_id).receive(json.dumps({"type": type_, **fields}), sender, self.now)

    def wait(self, seconds: float) -> None:
        """Time passes, and what is late is given up."""
        self.now += seconds
        self.links.expire(self.now, AT_MS)
        for chat in self.chats.live_chats:
            chat.forget_late(self.now)


class RigBot:
    """A bot as the contract (section 9) has it: numbers its messages, and keeps what is not acknowledged."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.sent = 0
        self.kept: dict[int, Message] = {}
        self.welcome: Message = {}
        self.commands: list[Message] = []
        self.goodbye: str | None = None
        self.connection: LinkConnection | None = None

    def dial(self, **hello: Any) -> None:
        """Opens a connection and says hello."""
        self.connection = self._rig.links.connect()
        assert self.connection is not None
        self.write({"type": "hello", "protocol": 1, "source": "custom", **hello})
        self.listen()

    def resume(self, *, all_again: bool = False) -> None:
        """Comes back with its token, and sends again what the hub has not got, or all that it is not sure of."""
        known = {"chat_id": self.welcome["chat_id"], "token": self.welcome["token"], "sent": self.sent}
        unsure = dict(self.kept)
        self.dial(resume=known)
        if self.goodbye is None:
            for n, message in sorted((unsure if all_again else self.kept).items()):
                self.write({"n": n, "message": message})

    def write(self, frame: Message | str) -> None:
        assert self.connection is not None
        self.connection.receive(frame if isinstance(frame, str) else json.dumps(frame), AT_MS)

    def say(self, message: Message, *, lost: bool = False) -> None:
        """Sends a message, perhaps into a connection that is dead without anybody knowing."""
        self.sent += 1
        self.kept[self.sent] = message
        if not lost:
            self.write({"n": self.sent, "message": message})

    def listen(self) -> list[Message]:
        """Reads what the hub has written."""
        assert self.connection is not None
        frames = frames_of(self.connection)
        for frame in frames:
            if frame.get("type") == "welcome":
                if frame["token"] != self.welcome.get("token"):
                    # Another hub, or a new session of it: everything it has not got is numbered anew.
                    self.kept = {place + 1: message for place, (_, message) in enumerate(sorted(self.kept.items()))}
                    self.sent = len(self.kept)
                self.welcome, self.goodbye = frame, None
                self._forget(frame["received"])
            elif "ack" in frame:
                self._forget(frame["ack"])
            elif "command" in frame:
                self.commands.append(frame)
            elif frame.get("type") == "goodbye":
                self.goodbye = frame["reason"]
        return frames

    def cut(self) -> None:
        """The connection breaks."""
        assert self.connection is not None
        self.connection.gone(self._rig.now)
        self.connection = None

    def _forget(self, n: int) -> None:
        self.kept = {number: message for number, message in self.kept.items() if number > n}
