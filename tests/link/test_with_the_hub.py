"""Many links on the real hub, which dies: what was said is there, once and in order."""

import asyncio
import json
from collections.abc import Callable
from itertools import repeat

import pytest
from websockets.asyncio.client import connect

from evi_mcp.link import AssistantInput, ChatLink
from tests.link.bots.call import free_port, until
from tests.process.conftest import evi_mcp

pytestmark = pytest.mark.anyio

KEY = "a-key-for-tests"
LINKS = 200
LINES = 30


async def test_two_hundred_bots_lose_nothing_when_their_hub_is_killed() -> None:
    """It is killed twice in the middle of their talk, and knows nothing of them when it is back."""
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    links = [ChatLink(url, key=KEY, chat_id=f"call-{n}", delays=lambda: repeat(0.05)) for n in range(LINKS)]
    spoken: list[tuple[str, str]] = []
    for link in links:
        link.on(AssistantInput)(_speaker(link, spoken))
        link.start()
    said = 0
    for _ in range(2):
        async with evi_mcp("hub", "--port", port, EVI_MCP_HUB_KEYS=KEY) as hub:
            await until(lambda: all(link.state == "live" for link in links), lambda: repr(links))
            for _ in range(LINES // 3):
                said += 1
                for link in links:
                    link.user_message(f"line {said}")
                await asyncio.sleep(0.02)
            hub.process.kill()
            await until(lambda: not any(link.state == "live" for link in links), lambda: repr(links))
    async with evi_mcp("hub", "--port", port, EVI_MCP_HUB_KEYS=KEY):
        while said < LINES:
            said += 1
            for link in links:
                link.user_message(f"line {said}")
        await until(lambda: not any(link.unsent for link in links), lambda: repr(links))
        wanted = [f"line {number}" for number in range(1, LINES + 1)]
        wrong = {}
        for link in links:
            uri = f"ws://127.0.0.1:{port}/v0/evi/chat/{link.chat_id}/connect"
            async with connect(uri, additional_headers={"X-Hume-Api-Key": KEY}) as supervisor:
                log = [json.loads(await supervisor.recv()) for _ in range(LINES + 1)][1:]
                if (texts := [message["message"]["content"] for message in log]) != wanted:
                    wrong[link.chat_id] = texts
                await supervisor.send(json.dumps({"type": "assistant_input", "text": "One moment."}))
        assert wrong == {}
        await until(lambda: len(spoken) >= LINKS, lambda: f"only {len(spoken)} have spoken")
        assert sorted(spoken) == sorted((link.chat_id, "One moment.") for link in links)
        assert sum(link.dropped for link in links) == 0
        await asyncio.gather(*(link.stop(flush_s=20) for link in links))
        assert {link.state for link in links} == {"ended"}


def _speaker(link: ChatLink, spoken: list[tuple[str, str]]) -> Callable[[AssistantInput], None]:
    return lambda command: spoken.append((link.chat_id, command.text))
