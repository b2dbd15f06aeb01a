"""A supervising agent: it follows a live chat, answers its tool calls, and steps in once when the caller is angry.

A model would decide what to say; here rules do. It runs on the simulator, or the service at EVI_MCP_BASE_URL."""

import asyncio
import os
import sys
from typing import Any

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

OPTIONS = ["--results=both", *([] if "EVI_MCP_BASE_URL" in os.environ else ["--simulate"])]
SERVER = StdioServerParameters(command=sys.executable, args=["-m", "evi_mcp", *OPTIONS], env=dict(os.environ))
UNTIL = [
    {"kind": "event", "types": ["tool_call", "error"]},
    {"kind": "expression", "score": "Anger", "at_least": 0.5},
]
ANSWER = '{"status": "held at the depot in Lyon", "eta": "tomorrow before noon"}'
LINE = "This is the shift lead. I have read along, and I am putting your refund through now."


class Refused(Exception):
    """The error of a tool: one sentence that says what is wrong and what to do next."""


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    """The structured result of a tool; a model would read its text instead."""
    result = await client.call_tool(tool, arguments)
    if result.is_error:
        raise Refused(getattr(result.content[0], "text", tool))
    return result.structured_content


async def supervise(client: Client, chat_id: str) -> None:
    """Sleeps until something matters, reads all that has happened, acts; until the chat is over."""
    await call(client, "attach_chat", chat_id=chat_id)
    cursor, over, stepped_in = "earliest", False, False
    while not over:
        page = await call(client, "wait_for_events", chat_ids=[chat_id], after=cursor, until=UNTIL)
        cursor, over = page["cursor"], page["woken_by"] == "chat_ended" and not page["more"]
        for event in page["events"]:
            if "speaker" in event:
                print(f"{event['speaker']}: {event['text']}")
        for waiting in (await call(client, "list_tool_calls", chat_id=chat_id))["tool_calls"]:
            await answer(client, chat_id, waiting)
        if page.get("trigger", {}).get("kind") == "expression" and not stepped_in:
            stepped_in = await step_in(client, chat_id, cursor)
    print(f"[over: {page['reason']}]")


async def answer(client: Client, chat_id: str, waiting: Any) -> None:
    """The first answer to a tool call counts; a refusal only means that somebody was faster."""
    which = {"chat_id": chat_id, "tool_call_id": waiting["tool_call_id"]}
    try:
        receipt = await call(client, "answer_tool_call", **which, content=ANSWER)
        print(f"[answered {waiting['name']}: {receipt['status']}]")
    except Refused as refusal:
        print(f"[not answered: {refusal}]")


async def step_in(client: Client, chat_id: str, cursor: str) -> bool:
    """Has EVI speak a line, unless the caller has spoken since the page that it answers to."""
    try:
        await call(client, "send_assistant_input", chat_id=chat_id, text=LINE, unless_user_spoke_after=cursor)
    except Refused as refusal:
        print(f"[not said: {refusal}]")
        return False
    print("[stepped in]")
    return True


async def main() -> None:
    async with Client(stdio_client(SERVER)) as client:
        [chat, *_] = (await call(client, "list_chats", scope="active"))["chats"]
        await supervise(client, chat["chat_id"])


asyncio.run(main())
