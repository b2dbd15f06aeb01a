"""A client that nobody here wrote, over HTTP: the npm SDK v1, on which most installed clients are built.

Runs where node, npm and the registry are, and says so where they are not.
"""

import json
import socket
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import Process as Client
from anyio.streams.text import TextReceiveStream

from evi_mcp.access.callers import Access
from evi_mcp.access.token_edits import add
from tests.fake_evi import FakeEvi
from tests.npm import npm_folder
from tests.process.conftest import evi_mcp

pytestmark = pytest.mark.anyio

PACKAGE = "@modelcontextprotocol/sdk@1.25.3"
SCRIPT = Path(__file__).with_name("npm_v1.cjs")
INSTALL_TIMEOUT_S = 60


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Path:
    """A folder with the package in it."""
    return npm_folder(request, "npm-sdk-v1", PACKAGE, timeout_s=INSTALL_TIMEOUT_S)


async def line_of(client: Client) -> Any:
    assert client.stdout is not None
    text = ""
    async for part in TextReceiveStream(client.stdout):
        text += part
        if "\n" in text:
            return json.loads(text)
    pytest.fail("it has ended")


async def test_it_survives_a_restart_of_the_server(folder: Path, evi: FakeEvi, tmp_path: Path) -> None:
    """It does not begin anew when its session is unknown: its tools would be dead until somebody restarts it."""
    token = add(tmp_path / "tokens.toml", "npm", access=Access.MONITOR)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    serve = ("serve", "--http", address)
    settings = {"EVI_MCP_TOKENS": str(tmp_path / "tokens.toml")}
    with anyio.fail_after(60):
        async with evi_mcp(*serve, evi=evi, environment=settings) as former:
            assert former.process.stdout is not None
            url = (await former.process.stdout.readline()).decode().strip()
            client = await anyio.open_process(["node", str(SCRIPT), str(folder), url, token])
            async with client:
                before = await line_of(client)
                former.process.terminate()
                await former.ended()
                async with evi_mcp(*serve, evi=evi, environment=settings) as later:
                    assert later.process.stdout is not None
                    await later.process.stdout.readline()
                    assert client.stdin is not None
                    await client.stdin.send(b"go on\n")
                    after = await line_of(client)
    assert before == after == {"isError": False, "session": before["session"]} and before["session"]
