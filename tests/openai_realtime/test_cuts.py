"""A call over real sockets whose sideband is cut again and again: what was said is told once, or a hole is said."""

from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from evi_mcp.upstream.transport import Closed
from tests.openai_realtime.rig import rig

pytestmark = pytest.mark.anyio

SHOWN = ("user_message", "assistant_message", "tool_call", "tool_response")


def holes(items: list[str], shown: list[Any]) -> int:
    """Runs of items that were not shown, with one behind them that was."""
    known = [key in shown for key in items]
    return sum(not before and after for before, after in pairwise(known))


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_many_cuts_lose_nothing_in_silence_and_tell_nothing_twice(seed: int) -> None:
    """The truth is the service's own conversation, at the end of the call. It is cut every few events."""
    chance, cuts = Random(seed), 0

    def gaps() -> Iterator[int]:
        nonlocal cuts
        while True:
            yield chance.randint(2, 16)
            cuts += 1

    async with rig(speed=40.0, delays=0.005) as made:
        call_id = await made.attached("support", tool_timeout_s=0.2)
        call = made.service.call(call_id)
        made.service.cut_after(call_id, gaps())
        agent = await made.supervise(call_id)
        with pytest.raises(Closed, match="1000"):
            await agent.until("no such type")
        assert cuts >= 5
        shown = [
            message.get("item_id") or message.get("id")
            for message in agent.seen
            if message["type"] in SHOWN and not message.get("interim")
        ]
        assert len(shown) == len(set(shown))
        dropped = [message for message in agent.seen if message["type"] == "messages_dropped"]
        assert holes(list(call.items), shown) <= len(dropped), "one cut may swallow several items, and is said once"
