"""The example in the docs does what it says, against the simulator, as anybody would run it."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from evi_mcp.simulator import Simulator

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "supervisor.py"

pytestmark = pytest.mark.anyio


async def test_the_supervisor_follows_a_call_answers_and_steps_in() -> None:
    """Who reads docs/tools.md starts from this code."""
    assert len(EXAMPLE.read_text().splitlines()) < 80
    async with Simulator(speed=10, calls=(), seed=3) as simulator:
        simulator.start_call("support")
        environment = {"EVI_MCP_BASE_URL": simulator.base_url, "HUME_API_KEY": "any"}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(EXAMPLE),
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(60):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()
    said = out.decode()
    assert process.returncode == 0, err.decode()
    assert "[answered look_up_order: confirmed]" in said
    assert said.count("[stepped in]") == 1 and "I am putting your refund through now." in said
    assert "user: No, stop. I do not want an investigation" in said
    assert said.rstrip().endswith('[over: EVI closed the chat: "the user left"]')
