"""`evi-mcp hub` as a process: bots and supervisors of other processes meet on it."""

import json
import signal

import httpx
import pytest

from tests.hub.rig import line
from tests.hub.wire import HEADERS, KEY, bot, socket, the_rest, until
from tests.process.conftest import evi_mcp

pytestmark = pytest.mark.anyio


async def test_a_server_supervises_a_bot_on_a_hub_that_runs_alone() -> None:
    """Contract, section 8: its first line on stdout is its base URL, all that a server needs beside the key."""
    async with evi_mcp("hub", "--port", "0", EVI_MCP_HUB_KEYS=f"another-key, {KEY}") as hub:
        assert hub.process.stdout is not None
        base_url = (await hub.process.stdout.readline()).decode().strip()
        async with bot(base_url, "call-1") as caller:
            await caller.say(line("Hello, how can I help?", id="m-1"))
            await caller.acknowledged()
            async with evi_mcp("serve", EVI_MCP_BASE_URL=base_url, HUME_API_KEY=KEY) as server:
                await server.initialize()
                (chat,) = (await server.call("list_chats", scope="active"))["structuredContent"]["chats"]
                assert chat["chat_id"] == "call-1"
                attached = await server.call("attach_chat", chat_id="call-1")
                assert "how can I help" in attached["content"][0]["text"]
                server.ask(50, "send_assistant_input", chat_id="call-1", text="One moment.")
                command = await caller.command()
                assert command["command"] == {"type": "assistant_input", "text": "One moment."}
                await caller.say(line("One moment.", id="m-2", from_text=True))
                await caller.done(command)
                while (answer := await server.read()).get("id") != 50:
                    pass
                assert answer["result"]["structuredContent"]["status"] == "confirmed"
            hub.process.send_signal(signal.SIGTERM)
            frames, code, _ = await the_rest(caller.connection)
            assert (frames[-1]["type"], code) == ("goodbye", 1001)
        status, log = await hub.ended()
        assert status == 0 and KEY not in log and "Traceback" not in log


async def test_without_keys_it_serves_this_machine_and_says_so() -> None:
    """Contract, section 8."""
    async with evi_mcp("hub", "--port", "0") as hub:
        assert hub.process.stdout is not None
        base_url = (await hub.process.stdout.readline()).decode().strip()
        async with socket(base_url, "/link", {}) as link:
            await link.send(json.dumps({"type": "hello", "protocol": 1, "source": "custom"}))
            await until(link, "welcome")
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"{base_url}/v0/evi/chats", headers={"Origin": "https://x"})).status_code == 401
        hub.process.send_signal(signal.SIGINT)
        status, log = await hub.ended()
    assert status == 0 and "EVI_MCP_HUB_KEYS" in log


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--host", "0.0.0.0"], 2, "EVI_MCP_HUB_KEYS"),
        (["--hub-keys", "short"], 2, "at least 8 characters"),
        (["--hub-keys", "long-enough,"], 2, "at least 8 characters"),
        (["--port", "70000"], 2, "70000"),
        (["--host", "192.0.2.1", "--hub-keys", "long-enough"], 1, "cannot listen on 192.0.2.1"),
    ],
)
async def test_what_cannot_be_served_is_one_line(arguments: list[str], status: int, said: str) -> None:
    """Status 2 for misuse, 1 for a system that does not let it; the keys are not repeated."""
    async with evi_mcp("hub", *arguments) as hub:
        code, log = await hub.ended()
    assert (code, said in log, log.count("\n")) == (status, True, 1)
    assert "short" not in log and "long-enough" not in log


async def test_two_hubs_on_one_port_are_told_apart() -> None:
    """The second says what is wrong, and leaves the first alone."""
    async with evi_mcp("hub", "--port", "0", EVI_MCP_HUB_KEYS=KEY) as first:
        assert first.process.stdout is not None
        base_url = (await first.process.stdout.readline()).decode().strip()
        async with evi_mcp("hub", "--port", base_url.rpartition(":")[2], EVI_MCP_HUB_KEYS=KEY) as second:
            status, log = await second.ended()
        assert (status, "cannot listen" in log) == (1, True)
        async with httpx.AsyncClient(trust_env=False, headers=HEADERS) as client:
            assert (await client.get(f"{base_url}/v0/evi/chats")).status_code == 200
