"""The MCP Inspector, a client that nobody here wrote, finds nothing wrong with us, in either protocol era.

Runs where npm and its registry are, and says so where they are not. The inspector needs a newer Node than many machines
have; it is installed from npm, too, where it is missing.
"""

import json
import os
import secrets
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from evi_mcp.server.tools import ALL_TOOLS
from tests.npm import npm_folder, recent_node
from tests.process.conftest import SCRIPT

INSPECTOR = "@modelcontextprotocol/inspector"
VERSION = "2.12.0"
NODE_NEEDED = (22, 19)
INSTALL_TIMEOUT_S = 90
RUN_TIMEOUT_S = 40
CONNECTION = "evi"

pytestmark = pytest.mark.anyio
eras = pytest.mark.parametrize("era", ["legacy", "modern"])


class Inspector:
    """The inspector's command lines, each a process, with a home and a holder of connections of their own."""

    def __init__(self, node: Path, clients: Path, home: str) -> None:
        """`node` runs the programs of `clients`; `home` is short, since a socket is made in it."""
        self.node, self.clients = str(node), clients
        self.socket = Path(home, "mcpdod.sock")
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "MCP_INSPECTOR_SECRET_STORE": "file",  # it must not look for the desktop's keys
            "MCP_INSPECTOR_DAEMON_DIR": home,
            "MCP_INSPECTOR_DAEMON_TOKEN": secrets.token_hex(),
        }

    def program(self, name: str) -> list[str]:
        return [self.node, str(self.clients / name)]

    async def _run(self, *command: str, status: int) -> Any:
        with anyio.fail_after(RUN_TIMEOUT_S):
            done = await anyio.run_process(command, env=self.environment, check=False)
        assert done.returncode == status, done.stderr.decode() + done.stdout.decode()
        return json.loads(done.stdout)

    async def once(self, *arguments: str) -> Any:
        """Starts a server of its own for one request, and returns the answer."""
        return await self._run(*self.program("cli/build/index.js"), "--format", "json", "-q", *arguments, status=0)

    async def ask(self, *arguments: str, status: int = 0) -> Any:
        """Makes one request over the held connection, and returns the answer."""
        options = ["--format", "json", f"--connection={CONNECTION}"]
        return await self._run(*self.program("mcpdo/build/mcp-bin.js"), *options, *arguments, status=status)

    async def call(self, tool: str, **arguments: Any) -> Any:
        """The structure of a result, which the inspector has checked against the tool's output schema."""
        return (await self.ask("tools/call", tool, json.dumps(arguments)))["structuredContent"]


@pytest.fixture(scope="module")
def programs(request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """A node that is new enough, and the folder of the inspector's clients."""
    node = recent_node(request, NODE_NEEDED, timeout_s=INSTALL_TIMEOUT_S)
    folder = npm_folder(request, "inspector", f"{INSPECTOR}@{VERSION}", timeout_s=INSTALL_TIMEOUT_S)
    return node, folder / "node_modules" / INSPECTOR / "clients"


@pytest.fixture
async def inspector(programs: tuple[Path, Path]) -> AsyncIterator[Inspector]:
    with tempfile.TemporaryDirectory(prefix="mcp-") as home:
        yield Inspector(*programs, home)


@pytest.fixture
async def supervisor(inspector: Inspector, era: str) -> AsyncIterator[Inspector]:
    """Connected to `evi-mcp serve --simulate`, a real process over stdio."""
    holder = await anyio.open_process(
        inspector.program("mcpdo/build/mcpdod.js"),
        env=inspector.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with anyio.fail_after(RUN_TIMEOUT_S):
            while not inspector.socket.exists():  # noqa: ASYNC110 - nothing tells of it
                await anyio.sleep(0.02)
        connected = await inspector.ask(
            "connect", f"--era={era}", "--", SCRIPT, "serve", "--simulate", "--results", "both"
        )
        assert connected["protocolEra"] == era
        yield inspector
    finally:
        if holder.returncode is None:
            holder.terminate()
        await holder.wait()


@eras
@pytest.mark.parametrize("results", ["both", "text"])
async def test_its_strict_check_of_our_schemas_finds_nothing(inspector: Inspector, era: str, results: str) -> None:
    """Clients turn schemas into stricter dialects, and drop a tool whose schema they cannot; warnings count, too."""
    server = [SCRIPT, "serve", "--simulate", "-e", f"EVI_MCP_RESULTS={results}"]
    listed = await inspector.once(*server, "--protocol-era", era, "--method", "tools/list", "--strict")
    assert "schemaFindings" not in listed, json.dumps(listed["schemaFindings"], indent=1)
    tools = listed["result"]["tools"]
    ours = [spec.name for spec in ALL_TOOLS if spec.command is None]
    assert [tool["name"] for tool in tools] == ours, "it leaves out what is malformed"
    assert {"outputSchema" in tool for tool in tools} == {results == "both"}


@eras
async def test_it_supervises_a_simulated_call(supervisor: Inspector, era: str) -> None:
    """What the SDK's own client takes, because both come from one code base, another client may refuse."""
    [chat_id, *_] = [chat["chat_id"] for chat in (await supervisor.call("list_chats", scope="active"))["chats"]]
    chat = await supervisor.call("attach_chat", chat_id=chat_id)
    assert chat["state"] == "live"
    assert (await supervisor.call("pause", chat_id=chat_id))["status"] in ("sent", "confirmed")
    assert (await supervisor.call("resume", chat_id=chat_id))["status"] in ("sent", "confirmed")
    page = await supervisor.call("read_events", chat_id=chat_id, after=chat["cursor"], types=["command"])
    assert [event["command"] for event in page["events"]] == ["pause_assistant_message", "resume_assistant_message"]
    assert (await supervisor.call("get_transcript", chat_id=chat_id))["turns"]

    refused = await supervisor.ask("tools/call", "get_chat", json.dumps({"chat_id": "nobody"}), status=5)
    assert refused["isError"] and "cannot attach to chat" in refused["content"][0]["text"]


@eras
async def test_it_reads_every_resource_of_a_chat(supervisor: Inspector, era: str) -> None:
    """Every template that needs no more than a chat is a resource of each attached chat, and both lists say so."""
    [chat_id, *_] = [chat["chat_id"] for chat in (await supervisor.call("list_chats", scope="active"))["chats"]]
    await supervisor.call("attach_chat", chat_id=chat_id)
    listed = (await supervisor.ask("resources/list"))["resources"]
    templates = (await supervisor.ask("resources/templates/list"))["resourceTemplates"]
    named = [template["uriTemplate"].partition("{?")[0].replace("{chat_id}", chat_id) for template in templates]
    uris = [resource["uri"] for resource in listed]
    assert uris == ["evi://chats", *(uri for uri in named if "{" not in uri)]
    for resource in listed:
        [content] = (await supervisor.ask("resources/read", resource["uri"]))["contents"]
        assert content["mimeType"] == resource["mimeType"]
        assert content["text"]
        assert content["mimeType"] != "application/json" or json.loads(content["text"])
    prompts = (await supervisor.ask("prompts/list"))["prompts"]
    assert {prompt["name"] for prompt in prompts} == {"supervise_chat", "handle_tool_calls", "look_back_on_chat"}
