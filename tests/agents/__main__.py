"""Writes the snapshots of the agents' stories; names of agents as arguments for some of them."""

import sys

import anyio

from tests.agents.scripts import SCRIPTS
from tests.agents.test_mistakes import SNAPSHOTS, story_of


async def main() -> None:
    SNAPSHOTS.mkdir(exist_ok=True)
    for name in sys.argv[1:] or SCRIPTS:
        try:
            story = await story_of(name)
        except (AssertionError, LookupError, ValueError, TimeoutError) as error:
            print(f"-- {name} does not recover: {type(error).__name__} {str(error)[:1500]}")
        else:
            (SNAPSHOTS / f"{name}.txt").write_text(story, "utf-8")
            print(f"++ {name}\n{story}")


anyio.run(main)
