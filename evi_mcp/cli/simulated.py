"""`serve --simulate`: which simulated calls there are, and running them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import click

EVI, OPENAI = "evi", "openai"


class Simulated(click.ParamType[str]):
    """`evi`, `openai`, or the name of a scripted call."""

    name = "simulated"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in (EVI, OPENAI):
            return str(value)
        from evi_mcp.simulator.scenario import scenarios

        if value not in scenarios():
            self.fail(f"There is no simulated call {value!r}; there are {', '.join(scenarios())}.", param, ctx)
        return str(value)


@asynccontextmanager
async def simulated(which: str, speed: float) -> AsyncIterator[str]:
    """Runs simulated calls; the base URL of their service.

    Args:
        which: What `Simulated` takes.
        speed: How many times faster than life they are.
    """
    if which == OPENAI:
        from evi_mcp.cli.openai import simulated_calls

        async with simulated_calls(speed) as base_url:
            yield base_url
        return
    from evi_mcp.simulator import Simulator

    async with Simulator(speed=speed, calls=None if which == EVI else (which,)) as simulator:
        yield simulator.base_url
