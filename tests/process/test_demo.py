"""What somebody sees first: `evi-mcp demo`, as a process, to its end."""

import re

import pytest

from tests.process.conftest import evi_mcp

pytestmark = pytest.mark.anyio

STEPS = [
    "transcript with expression",
    "tool call answered, answer used by EVI",
    "pause: EVI silent while the caller spoke",
    "line spoken by the supervisor",
    "resume: EVI went on",
    "call followed to its end",
    "no event missing",
]


async def test_the_demo_shows_a_supervised_call_of_which_each_step_really_happened() -> None:
    """Our contract (section 2): no questions asked, and status 0 only if each of these happened."""
    async with evi_mcp("demo") as demo:
        status, log = await demo.ended()
    shown = "\n".join(demo.lines)
    assert (status, log) == (0, ""), shown[-4000:]
    assert re.findall(r"│ (yes|no) +│ (.*?) +│", shown) == [("yes", step) for step in STEPS]
    assert "Anger 0." in shown and "\x1b" not in shown, "plain text where nobody looks at a terminal"
