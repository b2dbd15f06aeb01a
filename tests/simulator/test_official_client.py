"""A client that nobody here wrote: the npm package `hume` opens a chat and supervises it.

Runs where node, npm and the registry are, and says so where they are not.
"""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from evi_mcp.simulator import Simulator
from tests.npm import npm_folder

pytestmark = pytest.mark.anyio

PACKAGE = "hume@0.16.0"
SCRIPT = Path(__file__).with_name("official_client.cjs")
INSTALL_TIMEOUT_S = 40
RUN_TIMEOUT_S = 15


@pytest.fixture(scope="module")
def client_folder(request: pytest.FixtureRequest) -> Path:
    """A folder with the package in it."""
    return npm_folder(request, "hume-client", PACKAGE, timeout_s=INSTALL_TIMEOUT_S)


async def test_the_official_client_opens_a_chat_and_its_control_plane_client_attaches(client_folder: Path) -> None:
    """What Hume's own client cannot read is no EVI. Its events are parsed by its own types."""
    async with Simulator(api_key="official key", calls=(), speed=20.0) as sim:
        with anyio.fail_after(RUN_TIMEOUT_S):
            done = await anyio.run_process(
                ["node", str(SCRIPT), str(client_folder), sim.base_url, "official key"], cwd=client_folder, check=False
            )
    assert done.returncode == 0, done.stderr.decode()
    report: dict[str, Any] = json.loads(done.stdout)

    assert report["primary"][0] == "chat_metadata"
    assert report["observer"][0] == "chat_metadata"
    expected = {
        "chat_metadata",
        "user_message",
        "assistant_message",
        "assistant_prosody",
        "audio_output",
        "assistant_end",
        "tool_call",
        "session_settings",
    }
    assert expected <= set(report["observer"]), "history and live events, all of types it knows"
    assert report["unparsed"] == []
    assert report["fields"] == {  # in the names of the client's types, which differ from the wire's
        "fromText": True,
        "isQuickResponse": False,
        "toolCallId": "string",
        "responseRequired": True,
        "scores": 48,
        "audioBytes": True,
    }
    assert report["spoken"] == "One moment, a colleague is joining us."
    assert report["heard"] == "This is what I found: in Lyon"
    assert report["close"] == 1000
    assert report["sendRefused"] == 404
