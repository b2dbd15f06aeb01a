"""A simulated call in a real server process, and what is seen of it beside the agent."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import anyio
import mcp_types as types
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters, stdio_client

from evals.record import Asked, Record
from evi_mcp.clock import Clock, sleep

RESULTS = "both"
"""Both forms: the text is for the model, the structure for the scores."""
_LOOK_EVERY_S = 0.25
_SEEN = ["user_message", "tool_call", "command", "tool_response", "tool_error", "chat_state"]
_ANSWERS = ("tool_response", "tool_error")


GONE = (MCPError, anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream)
"""What a client raises when its server answers with no result, or is not there any more."""


class CallLost(Exception):
    """The server does not show the call; the text says what it said instead."""


class Call:
    """A call, and the client that both the agent and the watch of it use."""

    def __init__(self, client: Client, chat_id: str, clock: Clock) -> None:
        self.client = client
        self.chat_id = chat_id
        self._clock = clock
        self._cursor = "earliest"
        self._looking = anyio.Lock()
        self._asked_at: dict[str, datetime] = {}

    async def watch(self, record: Record) -> None:
        """Notes what EVI asks for, who is answered when, and the caller's anger, until the call has ended.

        Raises:
            CallLost: The server does not show it any more.
        """
        while not record.call_ended:
            await self.look(record)
            if not record.call_ended:
                await sleep(self._clock, _LOOK_EVERY_S)

    async def look(self, record: Record) -> None:
        """Notes what is new, once. Raises as `watch`."""
        async with self._looking:
            await self._look(record)

    async def _look(self, record: Record) -> None:
        page = await self._page()
        if page is None:
            record.call_ended = True
            return
        self._cursor = page["cursor"]
        for event in page["events"]:
            self._note(event, record)
        if any(event["type"] == "user_message" and not event.get("interim") for event in page["events"]):
            record.angers = await self._angers()
        if page["state"][self.chat_id] in ("ended", "failed") and not page["more"]:
            record.call_ended = True

    async def _page(self) -> Any:
        """What is new; `None` if the agent has detached the call, and it is over."""
        arguments = {"chat_id": self.chat_id, "after": self._cursor, "types": _SEEN, "limit": 200, "max_chars": 50000}
        try:
            return await self._structure("read_events", **arguments)
        except CallLost:
            active = (await self._structure("list_chats", scope="active"))["chats"]
            if all(chat["chat_id"] != self.chat_id for chat in active):
                return None
            # The agent has detached it; the history comes again.
            await self._structure("attach_chat", chat_id=self.chat_id)
            return await self._structure("read_events", **arguments)

    async def _angers(self) -> list[float]:
        shown = await self._structure("get_expression", chat_id=self.chat_id, last_turns=50, top=48)
        series = shown["scores"].get("Anger", {}).get("series", [])
        return [anger for anger in series if anger is not None]

    def _note(self, event: Any, record: Record) -> None:
        kind, call_id = event["type"], event.get("tool_call_id")
        # What came before the attach has no time but that of its arrival.
        at = datetime.fromisoformat(event["at"] if "at" in event else event["arrived_at"])
        if kind == "tool_call" and event.get("response_required") and call_id not in self._asked_at:
            self._asked_at[call_id] = at
            record.asked.append(Asked(call_id, event.get("name", "")))
        elif kind == "command" and event.get("command") in _ANSWERS:
            for asked in record.asked:
                if asked.tool_call_id == call_id and asked.answered_s is None:
                    asked.answered_s = (at - self._asked_at[call_id]).total_seconds()

    async def _structure(self, tool: str, **arguments: Any) -> Any:
        try:
            result = await self.client.call_tool(tool, arguments)
        except GONE as error:
            raise CallLost(f"{tool}: {error or type(error).__name__}") from None
        if result.is_error or result.structured_content is None:
            raise CallLost(f"{tool}: {' '.join(getattr(block, 'text', '') for block in result.content)}")
        return result.structured_content


@asynccontextmanager
async def simulated_call(name: str, speed: float, clock: Clock) -> AsyncIterator[Call]:
    """Starts a server with this call alone, attached.

    Raises:
        CallLost: There is no such call.
    """
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "evi_mcp", "serve", f"--simulate={name}", f"--simulate-speed={speed}"],
        env={**_passed_on(), "EVI_MCP_RESULTS": RESULTS, "EVI_MCP_LOG_LEVEL": "WARNING"},
    )
    async with Client(stdio_client(server)) as client:
        call = Call(client, "", clock)
        chats = (await call._structure("list_chats", scope="active"))["chats"]
        if not chats:
            raise CallLost("the server lists no chat")
        call.chat_id = chats[0]["chat_id"]
        await call._structure("attach_chat", chat_id=call.chat_id)
        yield call


async def tools_of(client: Client) -> list[types.Tool]:
    """All tools of the server."""
    found: list[types.Tool] = []
    cursor: str | None = None
    while True:
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if cursor is None:
            return found


def _passed_on() -> dict[str, str]:
    return {name: os.environ[name] for name in ("COVERAGE_PROCESS_CONFIG",) if name in os.environ}
