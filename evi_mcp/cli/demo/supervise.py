"""The demo's agent: what a model would do with the tools, written down as rules.

It sees only what an MCP client sees. The caller gets angrier; the agent answers the tool call, silences EVI once the
voice is angry, has a line of its own spoken, lets EVI go on, and counts what it saw.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from evi_mcp.simulator import Simulator

SPEED = 3.0
ANGRY = 0.5
ANSWER = {"status": "held at the depot in Lyon", "eta": "tomorrow before noon"}
LINE = "This is Kim, the shift lead. I have read along, and I am putting your refund through right now."


class Display(Protocol):
    """Where the demo shows what happens."""

    def step(self, text: str) -> None: ...
    def event(self, event: Mapping[str, Any]) -> None: ...


class Counted(Protocol):
    """What a demo has to show for itself at the end."""

    @property
    def events(self) -> Mapping[str, int]: ...
    def happened(self) -> Mapping[str, bool]: ...


class ToolFailed(Exception):
    """A tool of the server answered with an error."""


@dataclass
class Steps:
    """What really happened, from what the client was told."""

    chat_id: str = ""
    events: dict[str, int] = field(default_factory=dict)
    voices: int = 0
    answer_confirmed: bool = False
    answer_used: bool = False
    paused: bool = False
    spoke_while_paused: list[str] = field(default_factory=list)
    heard_while_paused: int = 0
    line_confirmed: bool = False
    resumed: bool = False
    went_on: bool = False
    ended: str = ""
    missing: int = -1

    def happened(self) -> dict[str, bool]:
        """Each step the demo promises, and whether it took place."""
        return {
            "transcript with expression": self.voices >= 3,
            "tool call answered, answer used by EVI": self.answer_confirmed and self.answer_used,
            "pause: EVI silent while the caller spoke": self.paused
            and self.heard_while_paused > 0
            and not self.spoke_while_paused,
            "line spoken by the supervisor": self.line_confirmed,
            "resume: EVI went on": self.resumed and self.went_on,
            "call followed to its end": self.ended == "ended",
            "no event missing": self.missing == 0,
        }


async def supervise(display: Display) -> Steps:
    """Runs simulator, server and client, and follows one call to its end."""
    async with Simulator(speed=SPEED, calls=()) as simulator:
        server = StdioServerParameters(
            command=sys.executable,
            args=["-m", "evi_mcp", "serve", "--log-level", "WARNING"],
            env={"EVI_MCP_BASE_URL": simulator.base_url, "HUME_API_KEY": "demo", "EVI_MCP_RESULTS": "both"},
        )
        display.step(f"simulated EVI at {simulator.base_url}, server: evi-mcp serve, over stdio")
        async with Client(stdio_client(server)) as client:
            simulator.start_call("support")
            return await _Agent(client, display).follow()


class _Agent:
    def __init__(self, client: Client, display: Display) -> None:
        self._client = client
        self._display = display
        self._steps = Steps()
        self._silenced = False

    async def follow(self) -> Steps:
        [found] = (await self._call("list_chats", scope="active"))["chats"]
        self._steps.chat_id = chat_id = found["chat_id"]
        self._display.step(f"list_chats found {chat_id}; attach_chat")
        await self._call("attach_chat", chat_id=chat_id)
        cursor, seen = "earliest", 0
        while not self._steps.ended:
            page = await self._call("wait_for_events", after=cursor, chat_ids=[chat_id])
            cursor = page["cursor"]
            for kind, count in page.get("omitted", {}).items():
                self._steps.events[kind] = self._steps.events.get(kind, 0) + count
                seen += count
            for event in page["events"]:
                seen += 1
                self._display.event(event)
                await self._see(event)
            if page["woken_by"] == "chat_ended" and not page["more"]:
                self._steps.ended = page["state"][chat_id]
        self._steps.missing = (await self._call("get_chat", chat_id=chat_id))["event_count"] - seen
        await self._call("detach_chat", chat_id=chat_id)
        return self._steps

    async def _see(self, event: Mapping[str, Any]) -> None:
        steps, kind = self._steps, event["type"]
        steps.events[kind] = steps.events.get(kind, 0) + 1
        steps.voices += "expression" in event
        if kind == "assistant_message":
            steps.answer_used |= ANSWER["status"] in event["text"]
            steps.went_on |= steps.resumed and not event.get("from_text")
            if self._silenced and not event.get("from_text"):
                steps.spoke_while_paused.append(event["text"])
        elif kind == "tool_call" and event.get("response_required"):
            await self._answer(event)
        elif kind == "user_message" and self._silenced:
            steps.heard_while_paused += 1
            await self._step_in()
        elif kind == "user_message" and not steps.paused and event["expression"].get("Anger", 0) >= ANGRY:
            await self._silence()

    async def _answer(self, event: Mapping[str, Any]) -> None:
        self._display.step(f"answer_tool_call {event['name']}: {json.dumps(ANSWER)}")
        receipt = await self._call(
            "answer_tool_call",
            chat_id=self._steps.chat_id,
            tool_call_id=event["tool_call_id"],
            content=json.dumps(ANSWER),
            wait_for_effect_s=10,
        )
        self._steps.answer_confirmed = receipt["status"] == "confirmed"

    async def _silence(self) -> None:
        self._display.step("the voice is angry: pause")
        receipt = await self._call("pause", chat_id=self._steps.chat_id, resume_after_s=60)
        self._steps.paused = receipt["status"] in ("sent", "confirmed")
        self._silenced = True

    async def _step_in(self) -> None:
        chat_id = self._steps.chat_id
        self._display.step("the caller has spoken on: send_assistant_input, then resume")
        receipt = await self._call("send_assistant_input", chat_id=chat_id, text=LINE, wait_for_effect_s=10)
        self._steps.line_confirmed = receipt["status"] == "confirmed"
        await self._call("resume", chat_id=chat_id)
        self._silenced, self._steps.resumed = False, True

    async def _call(self, tool: str, **arguments: Any) -> Any:
        result = await self._client.call_tool(tool, arguments)
        if result.is_error:
            raise ToolFailed(f"{tool}: {getattr(result.content[0], 'text', '')}")
        return result.structured_content
