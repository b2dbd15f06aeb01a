"""Scripted bots in a process of their own: `ChatLink`, and nothing of a voice framework.

Each says something every now and then. What it says it first notes in a file of its own, so that there is an account
of it whatever becomes of the process. A line on stdin silences them; once the hub has everything they say so on stdout.
The end of stdin is the end of their chats.
"""

import argparse
import asyncio
import random
import sys
from functools import partial
from itertools import repeat
from pathlib import Path

from evi_mcp.link import ChatLink
from tests.fake_evi import KEY

HUSHED = "hushed"
END = "end"
"""What stands for an `assistant_end`, which has no id and no words."""


class Bot:
    """One call: somebody asks, the bot answers, a tool is called at times."""

    def __init__(self, hub: str, chat_id: str, folder: Path) -> None:
        delays = partial(repeat, 0.3)  # a test has no half minutes to wait
        self.link = ChatLink(hub, key=KEY, chat_id=chat_id, source="script 1", delays=delays)
        self._account = (folder / chat_id).open("w", buffering=1)
        self._count = 0

    def _note(self, said: str) -> str:
        self._account.write(f"{said}\n")
        return said

    async def talk(self, rng: random.Random, pace_s: float) -> None:
        """Until it is cancelled, which it is between two turns or within one."""
        while True:
            await asyncio.sleep(rng.uniform(0, 2 * pace_s))
            self._count += 1
            self.link.user_message(self._note(f"question {self._count}"))
            if rng.random() < 0.2:
                await asyncio.sleep(0)
                self.link.tool_call(self._note(f"call {self._count}"), "look_up", {})
            for part in range(rng.randint(1, 3)):
                self.link.assistant_message(self._note(f"answer {self._count}.{part}"))
                await asyncio.sleep(rng.uniform(0, pace_s))
            self._note(END)
            self.link.assistant_end()


async def run(hub: str, folder: Path, chat_ids: list[str], pace_s: float) -> None:
    """Until the end of stdin."""
    loop = asyncio.get_running_loop()
    stdin = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    bots = [Bot(hub, chat_id, folder) for chat_id in chat_ids]
    for bot in bots:
        bot.link.start()
    talks = [asyncio.create_task(bot.talk(random.Random(bot.link.chat_id), pace_s)) for bot in bots]
    await stdin.readline()
    for talk in talks:
        talk.cancel()
    await asyncio.wait(talks)
    while any(bot.link.unsent or bot.link.state != "live" for bot in bots):  # noqa: ASYNC110  # who waits has a bound
        await asyncio.sleep(0.05)
    print(HUSHED, flush=True)
    await stdin.read()
    await asyncio.gather(*(bot.link.stop("the caller hung up") for bot in bots))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.bots")
    parser.add_argument("hub")
    parser.add_argument("folder", type=Path)
    parser.add_argument("chat_ids", nargs="+")
    parser.add_argument("--pace", type=float, default=0.3)
    given = parser.parse_args()
    asyncio.run(run(given.hub, given.folder, given.chat_ids, given.pace))
