"""Plays a snippet of docs/clients.md in the Python of a foreign framework: `play.py NAME FILE`.

The snippet makes the framework's own object for the server, called `evi`. With it this lists the tools and supervises a
call as far as a model would: finds a chat, attaches it, reads it. What came back goes to stdout as one line of JSON.
Nothing of evi-mcp is imported here.
"""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

Call = Callable[[str, dict[str, Any]], Awaitable[str]]
Opened = AbstractAsyncContextManager[tuple[list[str], Call]]
"""The names of the tools, and how one is called; its answer as the text that a model is shown."""


def _text(content: Any) -> str:
    return "\n".join(part if isinstance(part, str) else getattr(part, "text", str(part)) for part in content)


@asynccontextmanager
async def openai_agents(evi: Any) -> AsyncIterator[tuple[list[str], Call]]:
    async with evi:

        async def call(name: str, arguments: dict[str, Any]) -> str:
            return _text((await evi.call_tool(name, arguments)).content)

        yield [tool.name for tool in await evi.list_tools()], call


@asynccontextmanager
async def langchain(evi: Any) -> AsyncIterator[tuple[list[str], Call]]:
    from langchain_mcp_adapters.tools import load_mcp_tools

    async with evi.session("evi") as session:
        tools = {tool.name: tool for tool in await load_mcp_tools(session)}

        async def call(name: str, arguments: dict[str, Any]) -> str:
            answer = await tools[name].ainvoke(arguments)
            return answer if isinstance(answer, str) else "\n".join(part["text"] for part in answer)

        yield list(tools), call


@asynccontextmanager
async def llamaindex(evi: Any) -> AsyncIterator[tuple[list[str], Call]]:
    tools = {tool.metadata.name: tool for tool in await evi.to_tool_list_async()}

    async def call(name: str, arguments: dict[str, Any]) -> str:
        return str((await tools[name].acall(**arguments)).content)

    yield list(tools), call


@asynccontextmanager
async def pydantic_ai(evi: Any) -> AsyncIterator[tuple[list[str], Call]]:
    async with evi:

        async def call(name: str, arguments: dict[str, Any]) -> str:
            return str(await evi.direct_call_tool(name, arguments))

        yield [tool.name for tool in await evi.list_tools()], call


@asynccontextmanager
async def google_adk(evi: Any) -> AsyncIterator[tuple[list[str], Call]]:
    from google.adk.agents.invocation_context import InvocationContext
    from google.adk.agents.llm_agent import LlmAgent
    from google.adk.sessions.in_memory_session_service import InMemorySessionService
    from google.adk.tools.tool_context import ToolContext

    sessions = InMemorySessionService()
    session = await sessions.create_session(app_name="evi", user_id="somebody")
    agent = LlmAgent(name="supervisor", model="none", tools=[evi])
    invocation = InvocationContext(invocation_id="1", agent=agent, session=session, session_service=sessions)
    tools = {tool.name: tool for tool in await evi.get_tools()}

    async def call(name: str, arguments: dict[str, Any]) -> str:
        answer = await tools[name].run_async(args=arguments, tool_context=ToolContext(invocation))
        return "\n".join(part["text"] for part in answer["content"])

    try:
        yield list(tools), call
    finally:
        await evi.close()


@asynccontextmanager
async def autogen(evi: Any) -> AsyncIterator[tuple[list[str], Call]]:
    async with evi:

        async def call(name: str, arguments: dict[str, Any]) -> str:
            return str((await evi.call_tool(name, arguments)).to_text())

        yield [tool["name"] for tool in await evi.list_tools()], call


@asynccontextmanager
async def smolagents(evi: Any) -> AsyncIterator[tuple[list[str], Call]]:
    tools = {tool.name: tool for tool in evi.get_tools()}

    async def call(name: str, arguments: dict[str, Any]) -> str:
        return str(tools[name](**arguments))

    try:
        yield list(tools), call
    finally:
        evi.disconnect()


@asynccontextmanager
async def mcp_use(evi: Any) -> AsyncIterator[tuple[list[str], Call]]:
    session = await evi.create_session("evi")

    async def call(name: str, arguments: dict[str, Any]) -> str:
        return _text((await session.call_tool(name, arguments)).content)

    try:
        yield [tool.name for tool in await session.list_tools()], call
    finally:
        await evi.close_all_sessions()


@asynccontextmanager
async def agno(evi: Any) -> AsyncIterator[tuple[list[str], Call]]:
    async with evi:

        async def call(name: str, arguments: dict[str, Any]) -> str:
            return str((await evi.functions[name].entrypoint(**arguments)).content)

        yield list(evi.functions), call


@asynccontextmanager
async def semantic_kernel(evi: Any) -> AsyncIterator[tuple[list[str], Call]]:
    async with evi:

        async def call(name: str, arguments: dict[str, Any]) -> str:
            return _text(await evi.call_tool(name, **arguments))

        yield [name for name in dir(evi) if callable(getattr(evi, name)) and "_" in name], call


FRAMEWORKS: Mapping[str, Callable[[Any], Opened]] = {
    "openai-agents": openai_agents,
    "LangChain": langchain,
    "LlamaIndex": llamaindex,
    "pydantic-ai": pydantic_ai,
    "google-adk": google_adk,
    "autogen": autogen,
    "smolagents": smolagents,
    "mcp-use": mcp_use,
    "agno": agno,
    "Semantic Kernel": semantic_kernel,
}


async def play(name: str, code: str) -> dict[str, Any]:
    """What came of it: `tools`, and the texts of `active`, `attached` and `events`."""
    made: dict[str, Any] = {}
    exec(compile(code, "docs/clients.md", "exec"), made)
    async with FRAMEWORKS[name](made["evi"]) as (tools, call):
        active = await call("list_chats", {"scope": "active"})
        found = re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", active)
        chat_id = found[0] if found else ""
        attached = await call("attach_chat", {"chat_id": chat_id})
        events = await call("read_events", {"chat_id": chat_id})
    return {"tools": tools, "chat_id": chat_id, "active": active, "attached": attached, "events": events}


if __name__ == "__main__":
    with open(sys.argv[2], encoding="utf-8") as file:
        print(json.dumps(asyncio.run(play(sys.argv[1], file.read()))))
