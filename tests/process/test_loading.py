"""What a server on stdio loads before its first answer: some clients wait for that for no more than a second."""

import subprocess
import sys

import pytest

NOT_AT_START = {
    "evi_mcp.audit": "there is an audit log only where one is asked for",
    "evi_mcp.cli.terminal": "nobody looks at a terminal",
    "evi_mcp.hub": "the hub is elsewhere, or not asked for",
    "evi_mcp.openai_realtime": "no call of OpenAI Realtime is followed yet",
    "evi_mcp.server.http": "it is asked on stdio",
    "evi_mcp.simulator": "the chats are real",
    "evi_mcp.upstream.websocket": "no chat is attached yet",
    "httpx": "no request was sent yet",
    "jwt": "nobody shows a token",
    "openai": "no call of OpenAI Realtime is followed yet",
    "pygments": "nothing is shown in colour",
    "redis": "there is no store",
    "rich": "nothing is shown in colour",
    "python_socks": "no chat is attached yet",
    "websockets": "no chat is attached yet",
}
"""What must not be loaded at the start, with the parts of it, and why not."""

STARTED = """
import asyncio, sys
from evi_mcp.cli.loading import quickly
from evi_mcp.config import load
import evi_mcp.cli.main
with quickly():
    from evi_mcp.server import stdio
stdio.open_stdin, stdio.open_stdout = None, None  # what comes next is reading
async def start():
    try:
        await stdio.serve(load({}))
    except* TypeError:
        print(*sorted(sys.modules))
asyncio.run(start())
"""


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The modules that a server on stdio has loaded when it begins to read."""
    command = [sys.executable, "-c", STARTED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env={"HUME_API_KEY": "any"})
    return set(done.stdout.split())


@pytest.mark.parametrize("module", NOT_AT_START)
def test_nothing_is_loaded_that_the_first_answer_does_not_need(loaded: set[str], module: str) -> None:
    """Issue: the start of an empty `MCPServer` is all that a client should have to wait for."""
    assert "evi_mcp.server.server" in loaded
    assert sorted(name for name in loaded if f"{name}.".startswith(f"{module}.")) == [], NOT_AT_START[module]


def test_models_of_messages_that_nobody_has_sent_are_not_built() -> None:
    """A quarter of the start: 350 models of the SDK, of which a connection uses a dozen. What is loaded later is built
    as ever."""
    code = """
from evi_mcp.cli.loading import quickly
with quickly():
    import mcp_types
from pydantic import BaseModel, TypeAdapter
class Later(BaseModel):
    a: int
print(mcp_types.CreateMessageRequest.__pydantic_complete__, mcp_types.server_result_adapter.pydantic_complete,
      Later.__pydantic_complete__, TypeAdapter(int | str).pydantic_complete)
print(mcp_types.Tool.model_validate({"name": "a", "inputSchema": {"type": "object"}}).name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False", "False", "True", "True", "a"]
