"""`evi-mcp demo --bot pipecat`: what somebody with Pipecat sees first, as a process, to its end."""

import os
import re
import sys
from pathlib import Path

import pytest

from tests.link.bots.call import ROOT, Program

pytestmark = pytest.mark.anyio

STEPS = [
    "attached late, and saw what was said before",
    "tool call answered, answer heard by the caller",
    "whisper used by the bot's LLM",
    "line spoken exactly, confirmed and heard",
    "pause: silent while the caller spoke",
    "resume: the bot answered what was said meanwhile",
    "call ended by the supervisor",
]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}


async def test_the_demo_supervises_a_real_pipecat_bot_and_each_step_really_happened(bots_python: Path) -> None:
    """Issue 12: it runs one for real. Status 0 only if the caller heard, and the agent saw, each of these."""
    demo = await Program.start(bots_python, "-m", "evi_mcp", "demo", "--bot", "pipecat", env=ENVIRONMENT)
    try:
        status = await demo.ends()
    finally:
        await demo.kill()
    assert (status, demo.log) == (0, ""), demo.output[-4000:]
    assert re.findall(r"\u2502 (yes|no) +\u2502 (.*?) +\u2502", demo.output) == [("yes", step) for step in STEPS]


async def test_without_pipecat_the_demo_says_what_to_install() -> None:
    """Not a trace from the depths of an import."""
    demo = await Program.start(sys.executable, "-m", "evi_mcp", "demo", "--bot", "pipecat", env=ENVIRONMENT)
    try:
        assert await demo.ends() == 2
    finally:
        await demo.kill()
    said = " ".join(demo.output.split())
    assert "Pipecat is not installed" in said and "pip install 'pipecat-ai[websocket]'" in said and not demo.log
