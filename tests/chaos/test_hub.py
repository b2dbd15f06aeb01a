"""Bots on a hub while it is killed, their links are cut and some of them die. More of them: `make chaos`."""

import pytest

from tests.chaos.hub import run

pytestmark = [pytest.mark.anyio, pytest.mark.alone]


async def test_nothing_that_a_bot_says_is_lost_or_doubled_whatever_becomes_of_its_hub_and_its_link() -> None:
    """Issue 12: a supervisor's log has what each bot said, each thing once and in order. To repeat: `make chaos`."""
    counts = await run(7, bots=20, seconds=6)
    print(counts)
    assert not counts.problems
    assert (counts.bots, counts.hub_kills, counts.bots_killed) == (20, 2, 5)
    assert counts.links_cut >= 15 and counts.reconnects >= 15 and counts.logged > 200
