"""Agents that follow chats and act in them while things break: real MCP clients, who note all that they are told."""

import itertools
import random
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any

import anyio
from mcp import Client

from tests.chaos.count import Asked
from tests.chaos.faults import LEFT_OUT

ALL_TYPES = sorted(
    {*LEFT_OUT, "chat_metadata", "assistant_message", "tool_error", "chat_state", "command", "protocol_fault"}
)


class ToolFailed(Exception):
    """A tool of the server answered with an error; the text is its sentence."""


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    """The structured result of a call.

    Raises:
        ToolFailed: It was refused, or failed.
    """
    answer = await client.call_tool(tool, arguments)
    if answer.is_error:
        raise ToolFailed(getattr(answer.content[0], "text", ""))
    return answer.structured_content


class Follower:
    """Follows one chat, or all of a server, by cursor. `events` are what it read, by chat, in its order."""

    def __init__(self, client: Client, chat_ids: Iterable[str] = ()) -> None:
        self.client = client
        self.chat_ids = list(chat_ids)
        self.events: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.gaps: list[Any] = []
        self.calls: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=5))
        """The newest tool calls of each chat that need an answer."""
        self.cursor = "earliest"
        self.pages = 0

    async def follow(self, rng: random.Random) -> None:
        """Waits and reads until it is called off. Some waits it gives up itself, and goes on where it was."""
        while True:
            patience = rng.uniform(0.0, 0.5) if rng.random() < 0.1 else 60
            with anyio.move_on_after(patience):
                await self.read("wait_for_events", timeout_s=5)
            if not self.chat_ids:
                await anyio.sleep(0.05)  # who looks at all chats reads many events at once

    async def catch_up(self) -> None:
        """Reads what there is, without waiting."""
        while await self.read("wait_for_events", timeout_s=0):
            pass

    async def read(self, tool: str, **arguments: Any) -> bool:
        """One page; whether there was anything on it."""
        if self.chat_ids:
            arguments["chat_ids"] = self.chat_ids
        page = await call(
            self.client, tool, after=self.cursor, types=ALL_TYPES, limit=200, max_chars=50_000, **arguments
        )
        # Nothing awaits from here on, so that a page is taken whole or not at all.
        self.pages += 1
        self.cursor = page["cursor"]
        if "gap" in page:
            self.gaps.append(page["gap"])
        for event in page["events"]:
            chat_id = event.get("chat_id") or self.chat_ids[0]
            self.events[chat_id].append(event)
            if event["type"] == "tool_call" and event["response_required"]:
                self.calls[chat_id].append(event["tool_call_id"])
        return bool(page["events"])


class Actor:
    """Acts in one chat, with whichever of its clients, one command after the other. `asked` is what it asked for."""

    def __init__(self, name: str, clients: list[Client], follower: Follower, chat_id: str, pace: float) -> None:
        self.asked: list[Asked] = []
        self._name, self._clients, self._follower = name, clients, follower
        self._chat_id, self._pace = chat_id, pace
        self._numbers = itertools.count(1)
        self._answered: set[str] = set()

    async def act(self, rng: random.Random) -> None:
        """Acts until it is called off; a command under way then is one of which nobody knows what became of it."""
        while True:
            await anyio.sleep(rng.expovariate(1 / self._pace))
            open_calls = [id for id in self._follower.calls[self._chat_id] if id not in self._answered]
            kinds = ["send_user_input", "send_assistant_input", "answer", "pause"]
            [kind] = rng.choices(kinds, (4, 4, 8 if open_calls else 0, 1))
            if kind == "answer":
                await self._answer(rng, rng.choice(open_calls))
            elif kind == "pause":
                await self._do(rng, "pause", "pause_assistant_message", resume_after_s=300)
                await anyio.sleep(rng.uniform(0, self._pace))
                await self._do(rng, "resume", "resume_assistant_message")
            else:
                await self._speak(rng, kind)

    async def _speak(self, rng: random.Random, tool: str) -> None:
        text = f"{self._name} {next(self._numbers)}"
        condition = {"unless_user_spoke_after": self._follower.cursor} if rng.random() < 0.2 else {}
        await self._do(rng, tool, text, text=text, wait_for_effect_s=rng.choice((0, 0.5)), **condition)

    async def _answer(self, rng: random.Random, tool_call_id: str) -> None:
        """Answers a call; sometimes two agents do at once, and the first has to win."""
        self._answered.add(tool_call_id)
        async with anyio.create_task_group() as group:
            for _ in range(rng.choice((1, 1, 2))):
                content = f"{self._name} answer {next(self._numbers)}"
                failed = {"is_error": True, "error": "no"} if rng.random() < 0.2 else {}
                arguments = {"tool_call_id": tool_call_id, "content": content, "wait_for_effect_s": 0.5, **failed}
                group.start_soon(self._do_with, rng.choice(self._clients), "answer_tool_call", content, arguments)

    async def _do(self, rng: random.Random, tool: str, mark: str, **arguments: Any) -> None:
        await self._do_with(rng.choice(self._clients), tool, mark, arguments)

    async def _do_with(self, client: Client, tool: str, mark: str, arguments: dict[str, Any]) -> None:
        one = Asked(self._chat_id, tool, mark, tool_call_id=arguments.get("tool_call_id", ""))
        self.asked.append(one)
        try:
            receipt = await call(client, tool, chat_id=self._chat_id, **arguments)
            one.outcome = receipt["status"]
        except ToolFailed as refusal:
            one.reason = str(refusal)
            one.outcome = "maybe" if "may or may not have reached" in one.reason else "refused"
