"""A call over real sockets whose sideband is cut again and again: what was said is told once, or a hole is said."""

from itertools import pairwise
from random import Random
from typing import Any

import anyio
import pytest

from tests.openai_realtime.rig import rig

pytestmark = pytest.mark.anyio

SHOWN = ("user_message", "assistant_message", "tool_call", "tool_response")


def holes(items: list[str], shown: list[Any]) -> int:
    """Runs of items that were not shown, with one behind them that was."""
    known = [key in shown for key in items]
    return sum(not before and after for before, after in pairwise(known))


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_many_cuts_lose_nothing_in_silence_and_tell_nothing_twice(seed: int) -> None:
    """The truth is the service's own conversation, at the end of the call."""
    chance = Random(seed)
    async with rig(speed=40.0, delays=0.005) as made:
        call_id = await made.attached("support", tool_timeout_s=0.2)
        call = made.service.call(call_id)
        agent = await made.supervise(call_id)
        cuts = 0

        async def cut() -> None:
            nonlocal cuts
            while call.ending is None:
                await anyio.sleep(chance.uniform(0.02, 0.2))
                if call.ending is None:
                    made.service.cut(call_id)
                    cuts += 1

        async with anyio.create_task_group() as group:
            group.start_soon(cut)
            with pytest.raises(Exception, match="1000"):
                await agent.until("no such type")
        shown = [
            message.get("item_id") or message.get("id")
            for message in agent.seen
            if message["type"] in SHOWN and not message.get("interim")
        ]
        assert cuts >= 5 and len(shown) == len(set(shown))
        dropped = [message for message in agent.seen if message["type"] == "messages_dropped"]
        assert holes(list(call.items), shown) <= len(dropped), "one cut may swallow several items, and is said once"
