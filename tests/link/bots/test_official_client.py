"""A client that nobody here wrote, on a bot that nobody here wrote: npm `hume` supervises a Pipecat call."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from evi_mcp.hub import Hub
from tests.link.bots.call import Program, call_with, until
from tests.link.fake_hub import KEY
from tests.npm import npm_folder

pytestmark = pytest.mark.anyio

PACKAGE = "hume@0.16.0"
SCRIPT = Path(__file__).with_name("official_client.cjs")
INSTALL_TIMEOUT_S = 40


@pytest.fixture(scope="module")
def client_folder(request: pytest.FixtureRequest) -> Path:
    """A folder with the package in it."""
    return npm_folder(request, "hume-client", PACKAGE, timeout_s=INSTALL_TIMEOUT_S)


async def test_humes_own_control_plane_client_supervises_a_pipecat_bot(bots_python: Path, client_folder: Path) -> None:
    """Whoever has written a supervisor for EVI keeps it: it attaches late, answers, speaks, pauses and sees the end."""
    async with Hub(keys=[KEY]) as hub:
        url = hub.base_url or ""
        async with call_with("pipecat", bots_python, None, hub_url=url, chat_id="call-1") as call:
            await call.say("hello there")
            await call.hears("You said: hello there.")
            client = await Program.start("node", SCRIPT, client_folder, url, KEY, "call-1", env=dict(os.environ))
            try:
                await _says_what_it_is_told(client, 1)
                await call.say("I want a refund")
                await call.hears("I hear: granted")
                await call.hears("One moment, a colleague is joining us.")
                await _says_what_it_is_told(client, 2)
                await call.say("are you there")
                await call.hears("You said: are you there.")
                await _says_what_it_is_told(client, 3)
                await call.hang_up()
                assert await client.ends() == 0, client.log
            finally:
                await client.kill()
    report: dict[str, Any] = json.loads(client.output.splitlines()[-1])
    assert report["types"][0] == "chat_metadata"
    assert {"user_message", "assistant_message", "assistant_end", "tool_call"} <= set(report["types"])
    assert report["past"] == "You said: hello there."
    assert report["responseRequired"] is True and "granted" in report["used"]
    assert report["spoken"] == "One moment, a colleague is joining us."
    assert "are you there" in report["resumed"]
    assert report["unparsed"] == []
    assert report["close"] == 1000


async def _says_what_it_is_told(client: Program, number: int) -> None:
    """Waits until the client has asked for the caller's words so many times."""
    await until(
        lambda: client.output.count("caller:") >= number or client.process.returncode is not None,
        lambda: f"the client does not go on; {client.output}{client.log}",
    )
    assert client.process.returncode is None, client.log
