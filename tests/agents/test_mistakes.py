"""Mistakes that agents make, each put right in one step by what the server says; the words are snapshots.

`python -m tests.agents` writes the snapshots anew: a change of what agents read is to be looked at.
"""

from pathlib import Path

import pytest

from tests.agents.agent import ScriptedAgent
from tests.agents.scripts import SCRIPTS, histories
from tests.fake_evi import fake_evi
from tests.process.conftest import evi_mcp

pytestmark = pytest.mark.anyio
SNAPSHOTS = Path(__file__).parent.parent / "snapshots" / "agents"


async def story_of(name: str) -> str:
    """Lets an agent make its mistake on a real process; what it said and read."""
    async with fake_evi() as evi:
        evi.history.update(histories())
        async with evi_mcp(evi=evi, EVI_MCP_RESULTS="text") as process:
            await process.initialize()
            agent = ScriptedAgent(process)
            await SCRIPTS[name](agent, evi)
            process.end_input()
            assert (await process.ended())[0] == 0
    return agent.story()


@pytest.mark.parametrize("name", SCRIPTS)
async def test_an_agent_that_makes_a_mistake_recovers_in_one_step(name: str) -> None:
    """By the text alone, which is all that most clients show a model."""
    assert await story_of(name) == (SNAPSHOTS / f"{name}.txt").read_text("utf-8")


def test_every_snapshot_is_of_an_agent() -> None:
    """One that is left over holds nothing."""
    assert {path.stem for path in SNAPSHOTS.iterdir()} == set(SCRIPTS)
