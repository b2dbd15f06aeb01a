"""What docs/clients.md says to paste works as it stands: with the frameworks themselves, and with the server that is
started by the lines for an application."""

import asyncio
import json
import os
import re
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from evi_mcp.simulator import Simulator
from tests.clients.environment import client_python
from tests.clients.snippets import PAGE, program, snippets
from tests.harness import text_of
from tests.npm import npm_folder, recent_node

pytestmark = pytest.mark.anyio

GROUPS = {
    "openai-agents": "agents",
    "LangChain": "agents",
    "pydantic-ai": "agents",
    "google-adk": "agents",
    "LlamaIndex": "llama",
    "autogen": "former",
    "smolagents": "former",
    "agno": "agno",
    "mcp-use": "former",
    "Semantic Kernel": "former",
}
"""The environment in which each framework is installed."""
PROCESS_PER_CALL = {"LlamaIndex"}
"""What attaching shows is all that such a one reads for certain."""

NPM = {
    "Vercel AI SDK": ("@ai-sdk/mcp@2.0.99",),
    "LangChain, JavaScript": ("@langchain/mcp-adapters@1.1.4", "@langchain/core@1.4.0"),
}
CALLS_IN_JS = {
    "Vercel AI SDK": """
const call = async (name, args) =>
  (await tools[name].execute(args, { toolCallId: "1", messages: [] })).content.map((part) => part.text).join("\\n");
const names = Object.keys(tools);
""",
    "LangChain, JavaScript": """
const byName = Object.fromEntries(tools.map((tool) => [tool.name, tool]));
const call = async (name, args) => {
  const answer = await byName[name].invoke(args);
  return typeof answer === "string" ? answer : answer.map((part) => part.text).join("\\n");
};
const names = Object.keys(byName);
""",
}
"""How a tool is called in each."""
PLAY_IN_JS = """
const active = await call("list_chats", { scope: "active" });
const chat_id = active.match(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/)?.[0] ?? "";
const attached = await call("attach_chat", { chat_id });
const events = await call("read_events", { chat_id });
console.log(JSON.stringify({ tools: names, chat_id, active, attached, events }));
await evi.close();
"""
NODE = 22, 0
INSTALL_TIMEOUT_S = 90


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[str]:
    """The address of a simulated EVI, whose calls are half through before anybody looks."""
    async with Simulator(speed=5) as simulator:
        yield simulator.base_url


@pytest.fixture
def path(service: str, tmp_path: Path) -> str:
    """A `PATH` on which `evi-mcp` supervises these chats."""
    return f"{program(tmp_path, service)}{os.pathsep}{os.environ['PATH']}"


async def run(*command: str | Path, path: str, cwd: Path) -> dict[str, Any]:
    """What the last line of its output says."""
    environment = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=cwd,
        env={**environment, "PATH": path, "ANONYMIZED_TELEMETRY": "false", "MCP_USE_ANONYMIZED_TELEMETRY": "false"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(90):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, err.decode()[-4000:]
    told: dict[str, Any] = json.loads(out.decode().strip().splitlines()[-1])
    return told


def check(told: dict[str, Any], *, read: str = "events") -> None:
    """It has listed tools, found a call, attached it, and read what was said."""
    assert {"list_chats", "attach_chat", "wait_for_events", "answer_tool_call"} <= set(told["tools"])
    assert told["chat_id"] and told["chat_id"][:8] in told["attached"]
    assert re.search(r"(user|assistant) \"\w", told[read]), told[read]


def test_every_snippet_is_run() -> None:
    """A snippet that no test runs would be wrong some day, and nobody would know."""
    languages = {name: snippet.language for name, snippet in snippets().items()}
    assert set(GROUPS) == {name for name, language in languages.items() if language == "python"}
    assert set(NPM) == {name for name, language in languages.items() if language == "js"}
    table = PAGE.read_text().partition("## Applications")[0]
    assert all(f"| {name}" in table for name in languages)


@pytest.mark.parametrize("name", GROUPS)
async def test_a_framework_supervises_a_call(name: str, path: str, tmp_path: Path) -> None:
    """With nothing but the lines of the page and the framework's own client."""
    python = client_python(GROUPS[name])
    written = tmp_path / "snippet.py"
    written.write_text(snippets()[name].code)
    told = await run(python, Path(__file__).with_name("play.py"), name, written, path=path, cwd=tmp_path)
    check(told, read="attached" if name in PROCESS_PER_CALL else "events")


@pytest.mark.parametrize("name", NPM)
async def test_a_framework_of_npm_supervises_a_call(
    request: pytest.FixtureRequest, name: str, path: str, tmp_path: Path
) -> None:
    """As in Python."""
    node = recent_node(request, NODE, timeout_s=INSTALL_TIMEOUT_S)
    folder = npm_folder(request, name.replace(", ", "-").replace(" ", "-"), *NPM[name], timeout_s=INSTALL_TIMEOUT_S)
    written = folder / f"{tmp_path.name}.mjs"
    written.write_text(snippets()[name].code + CALLS_IN_JS[name] + PLAY_IN_JS)
    check(await run(node, written, path=path, cwd=tmp_path))


async def test_the_ai_sdk_connects_to_a_server_that_is_slow_to_start(
    request: pytest.FixtureRequest, service: str, tmp_path: Path
) -> None:
    """Issue: it gives its probe up after 1 s and begins with `initialize`; both wait when the server begins to read."""
    node = recent_node(request, NODE, timeout_s=INSTALL_TIMEOUT_S)
    folder = npm_folder(request, "Vercel-AI-SDK", *NPM["Vercel AI SDK"], timeout_s=INSTALL_TIMEOUT_S)
    path = f"{program(tmp_path, service, slow_s=1.5)}{os.pathsep}{os.environ['PATH']}"
    written = folder / f"{tmp_path.name}.mjs"
    written.write_text(snippets()["Vercel AI SDK"].code + CALLS_IN_JS["Vercel AI SDK"] + PLAY_IN_JS)
    check(await run(node, written, path=path, cwd=tmp_path))


def servers(told: Any) -> Iterator[dict[str, Any]]:
    """The descriptions of servers in a configuration, wherever they stand."""
    if isinstance(told, dict):
        if "command" in told:
            yield told
        for value in told.values():
            yield from servers(value)


APPLICATIONS = [name for name, snippet in snippets().items() if snippet.language in ("json", "toml")]


@pytest.mark.parametrize("name", APPLICATIONS)
async def test_the_lines_for_an_application_start_a_server(name: str, path: str) -> None:
    """The applications themselves are not tried; what they start is."""
    language, code = snippets()[name]
    [server] = servers(json.loads(code) if language == "json" else tomllib.loads(code))
    environment = {"PATH": path, **server["env"]}
    assert "HUME_API_KEY" in server["env"]
    command = StdioServerParameters(command="evi-mcp", args=server["args"], env=environment)
    assert server["command"] == command.command
    async with Client(stdio_client(command), mode="legacy") as client:

        async def call(tool: str, **arguments: Any) -> str:
            answer = await client.call_tool(tool, arguments)
            assert not answer.is_error, answer
            return text_of(answer.content[0])

        tools = [tool.name for tool in (await client.list_tools()).tools]
        active = await call("list_chats", scope="active")
        found = re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", active)
        assert found is not None, active
        told = {"tools": tools, "chat_id": found[0], "attached": await call("attach_chat", chat_id=found[0])}
        check({**told, "events": await call("read_events", chat_id=found[0])})
