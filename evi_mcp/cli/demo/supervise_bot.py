"""The demo on a real bot: a Pipecat process, its caller, the hub, the server, and an agent that knows the tools only.

The bot's LLM and voice are scripted, as there is no account; all else is Pipecat's. The agent comes late, answers a
tool call, whispers, has a line spoken, silences the bot and lets it go on, and ends the call. What the caller hears is
read from the caller's own process.
"""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from evi_mcp.cli.demo.real_bot import Program, phone_call
from evi_mcp.cli.demo.supervise import Display, ToolFailed
from evi_mcp.hub import Hub

CHAT_ID = "pipecat-demo"
KEY = "demo"
LINE = "This is Kim, the shift lead. I have read along."
WHISPER = "be brief"
SILENCE_S = 1.5
"""How long the caller waits for a bot that is paused."""


@dataclass
class BotSteps:
    """What really happened: from what the agent was told, and from what the caller heard."""

    events: dict[str, int] = field(default_factory=dict)
    saw_the_past: bool = False
    answer_used: bool = False
    line_confirmed: bool = False
    line_heard: bool = False
    whisper_used: bool = False
    paused: bool = False
    silent: bool = False
    answered_late: bool = False
    ended: str = ""

    def happened(self) -> dict[str, bool]:
        """Each step that is promised, and whether it took place."""
        return {
            "attached late, and saw what was said before": self.saw_the_past,
            "tool call answered, answer heard by the caller": self.answer_used,
            "whisper used by the bot's LLM": self.whisper_used,
            "line spoken exactly, confirmed and heard": self.line_confirmed and self.line_heard,
            "pause: silent while the caller spoke": self.paused and self.silent,
            "resume: the bot answered what was said meanwhile": self.answered_late,
            "call ended by the supervisor": self.ended == "ended",
        }


async def supervise_bot(display: Display) -> BotSteps:
    """Runs hub, bot, caller, server and client, and follows one call to its end.

    Raises:
        NoBot: Pipecat is not installed here.
        BotFailed: The bot does not do what it should.
    """
    async with Hub(keys=[KEY]) as hub, phone_call(hub.base_url or "", KEY, CHAT_ID) as caller:
        server = StdioServerParameters(
            command=sys.executable,
            args=["-m", "evi_mcp", "serve", "--log-level", "WARNING"],
            env={"EVI_MCP_BASE_URL": hub.base_url or "", "HUME_API_KEY": KEY, "EVI_MCP_RESULTS": "structured"},
        )
        display.step(f"hub at {hub.base_url}; a Pipecat bot has dialled in; server: evi-mcp serve, over stdio")
        await _says(caller, display, "hello there", "You said: hello there.")
        async with Client(stdio_client(server)) as client:
            return await _Agent(client, caller, display).follow()


async def _says(caller: Program, display: Display, words: str, answer: str) -> None:
    display.step(f"the caller says: {words}")
    await caller.read(words)
    await caller.writes(answer)


class _Agent:
    def __init__(self, client: Client, caller: Program, display: Display) -> None:
        self._client = client
        self._caller = caller
        self._display = display
        self._steps = BotSteps()
        self._cursor = "earliest"

    async def follow(self) -> BotSteps:
        self._display.step("list_chats, attach_chat")
        [found] = (await self._call("list_chats", scope="active"))["chats"]
        await self._call("attach_chat", chat_id=found["chat_id"])
        await self._client.list_tools()  # `end_chat` is among them once a chat takes it
        await self._until("assistant_message", "hello there")
        self._steps.saw_the_past = True
        await self._answer_a_tool_call()
        await self._whisper()
        await self._speak()
        await self._pause_and_resume()
        self._display.step("end_chat")
        await self._call("end_chat", chat_id=CHAT_ID)
        await self._until("chat_state", "ended")
        self._steps.ended = (await self._call("get_chat", chat_id=CHAT_ID))["state"]
        return self._steps

    async def _answer_a_tool_call(self) -> None:
        self._display.step("the caller says: I want a refund")
        await self._caller.read("I want a refund")
        asked = await self._until("tool_call")
        self._display.step(f"answer_tool_call {asked['name']}: granted")
        await self._call(
            "answer_tool_call", chat_id=CHAT_ID, tool_call_id=asked["tool_call_id"], content="granted at once"
        )
        await self._caller.writes("I hear: granted at once")
        await self._until("assistant_message", "granted at once")
        self._steps.answer_used = True

    async def _whisper(self) -> None:
        self._display.step(f"whisper: {WHISPER}")
        await self._call("whisper", chat_id=CHAT_ID, text=WHISPER)
        await _says(self._caller, self._display, "who are you", f"I was told: Context: {WHISPER}")
        await self._until("assistant_message", WHISPER)
        self._steps.whisper_used = True

    async def _speak(self) -> None:
        self._display.step("send_assistant_input")
        receipt = await self._call("send_assistant_input", chat_id=CHAT_ID, text=LINE, wait_for_effect_s=10)
        self._steps.line_confirmed = receipt["status"] == "confirmed"
        await self._caller.writes(LINE)
        await self._until("assistant_message", "I have read along")
        self._steps.line_heard = True

    async def _pause_and_resume(self) -> None:
        self._display.step("pause")
        receipt = await self._call("pause", chat_id=CHAT_ID, resume_after_s=60)
        self._steps.paused = receipt["status"] == "confirmed"
        self._display.step("the caller says: are you there")
        await self._caller.read("are you there")
        await self._until("user_message", "are you there")
        await asyncio.sleep(SILENCE_S)
        self._steps.silent = not self._caller.unread.strip()
        self._display.step("the caller has heard nothing: resume")
        await self._call("resume", chat_id=CHAT_ID)
        await self._caller.writes("You said: are you there.")
        await self._until("assistant_message", "are you there")
        self._steps.answered_late = True

    async def _until(self, kind: str, text: str = "") -> Mapping[str, Any]:
        """The next event of this type with this text in it; all before it is shown."""
        while True:
            page = await self._call("read_events", chat_id=CHAT_ID, after=self._cursor, limit=1)
            if not page["events"]:
                await self._call("wait_for_events", after=self._cursor, chat_ids=[CHAT_ID], timeout_s=10)
                continue
            self._cursor = page["cursor"]
            for event in page["events"]:
                self._steps.events[event["type"]] = self._steps.events.get(event["type"], 0) + 1
                self._display.event(event)
                if event["type"] == kind and text in (event.get("text") or event.get("state") or ""):
                    found: Mapping[str, Any] = event
                    return found

    async def _call(self, tool: str, **arguments: Any) -> Any:
        result = await self._client.call_tool(tool, arguments)
        if result.is_error:
            raise ToolFailed(f"{tool}: {getattr(result.content[0], 'text', '')}")
        return result.structured_content
