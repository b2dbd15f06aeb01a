"""A bot on the hub in one file, for those who write a link in another language: see docs/hub.md.

    evi-mcp hub &
    python examples/hub_bot.py            # and supervise the chat "echo-1" at http://127.0.0.1:8770

It repeats what is typed to it, speaks lines as they are written, and falls silent while it is paused. In Python,
`evi_mcp.link.ChatLink` does all of this and more.
"""

import asyncio
import json
import os
import sys
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

HUB = os.environ.get("EVI_MCP_HUB", "http://127.0.0.1:8770")
KEY = os.environ.get("EVI_MCP_HUB_KEY", "")
SUPPORTS = ["user_input", "assistant_input", "pause_assistant_message", "resume_assistant_message"]


class EchoBot:
    """What has to outlive a connection: the numbers, what is not acknowledged, and which commands were carried out."""

    def __init__(self, chat_id: str) -> None:
        self.hello: dict[str, Any] = {"type": "hello", "protocol": 1, "source": "custom", "supports": SUPPORTS}
        self.hello["chat_id"] = chat_id
        self.token, self.sent, self.kept = "", 0, dict[int, Any]()
        self.outcomes: dict[str, Any] = {}
        self.paused = self.over = False

    async def run(self) -> None:
        """Dials in until the chat is over; a bot with a call to make would go on with it meanwhile."""
        self.say("assistant", "Hello, I repeat what you type.")
        while not self.over:
            try:
                async with connect(f"ws{HUB.removeprefix('http')}/v0/evi/link", additional_headers=self.headers) as hub:
                    await self.talk(hub)
            except (ConnectionClosed, OSError, InvalidHandshake) as error:
                print(f"no hub ({type(error).__name__}); again in a second", file=sys.stderr)
                await asyncio.sleep(1)

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Hume-Api-Key": KEY} if KEY else {}

    async def talk(self, hub: ClientConnection) -> None:
        """One connection, to its end."""
        resume = {"chat_id": self.hello["chat_id"], "token": self.token, "sent": self.sent}
        await hub.send(json.dumps({**self.hello, **({"resume": resume} if self.token else {})}))
        async for raw in hub:
            frame = json.loads(raw)
            if frame.get("type") == "welcome":
                self.welcome(frame["token"], frame["received"])
                written = frame["received"]
            elif "ack" in frame:
                self.kept = {n: message for n, message in self.kept.items() if n > frame["ack"]}
            elif "command" in frame:
                await hub.send(json.dumps(self.carry_out(frame["id"], frame["command"])))
            elif frame.get("type") == "goodbye":
                print(f"the hub says goodbye: {frame['reason']}", file=sys.stderr)
                continue
            for n in range(written + 1, self.sent + 1):
                await hub.send(json.dumps({"n": n, "message": self.kept[n]}))
                written = n
            if self.over:
                await hub.send(json.dumps({"type": "end", "reason": "the user said goodbye"}))

    def welcome(self, token: str, received: int) -> None:
        """The hub has everything up to `received`. Another token: it does not know this chat, and all begins at 1."""
        kept = [message for n, message in sorted(self.kept.items()) if token != self.token or n > received]
        self.token, self.sent = token, received + len(kept)
        self.kept = dict(enumerate(kept, received + 1))

    def carry_out(self, id_: str, command: Any) -> Any:
        """Once for each id, however often it comes; the outcome is told each time."""
        if id_ not in self.outcomes:
            self.outcomes[id_] = {"done": id_}
            match command["type"]:
                case "user_input":
                    self.say("user", command["text"], from_text=True)
                    self.over = command["text"].lower().startswith("goodbye")
                    if not self.paused:
                        self.say("assistant", f"You typed: {command['text']}")
                case "assistant_input":
                    self.say("assistant", command["text"], from_text=True)
                case "pause_assistant_message" | "resume_assistant_message":
                    self.paused = command["type"].startswith("pause")
                case other:
                    self.outcomes[id_] = {"refused": id_, "reason": f"this bot cannot do {other}"}
        return self.outcomes[id_]

    def say(self, role: str, text: str, *, from_text: bool = False) -> None:
        """A message of the chat, numbered and kept until the hub has it."""
        self.sent += 1
        said = {"type": f"{role}_message", "message": {"role": role, "content": text}, "models": {}}
        rest = {"time": {"begin": 0, "end": 0}, "interim": False} if role == "user" else {"id": f"m{self.sent}"}
        self.kept[self.sent] = {**said, **rest, "from_text": from_text}


if __name__ == "__main__":
    asyncio.run(EchoBot(sys.argv[1] if len(sys.argv) > 1 else "echo-1").run())
