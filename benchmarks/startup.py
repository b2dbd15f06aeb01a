"""From starting the process to having its first list of tools, beside an empty server."""

import time
from statistics import median

from benchmarks.processes import EMPTY, EVI_MCP, KEY, server
from benchmarks.report import Group, at_most, ms, ratio_of

NOTE = """\
From starting the process to the client having the first list of tools, with the byte code of all modules cached.
*Beside it*: the empty `MCPServer`, with one tool."""


async def _start(*command: str, **environment: str) -> float:
    started = time.monotonic()
    async with server(*command, **environment) as running:
        tools = await running.request("tools/list")
        seconds = time.monotonic() - started
    assert tools["tools"], tools
    return seconds


async def run(quick: bool) -> Group:
    """Alternates the sides."""
    ours: list[float] = []
    theirs: list[float] = []
    for number in range(-1, 3 if quick else 11):  # the first round fills the caches
        mine, other = await _start(*EVI_MCP, HUME_API_KEY=KEY), await _start(*EMPTY)
        if number >= 0:
            ours.append(mine)
            theirs.append(other)
    what = "start-up over an empty `MCPServer`"
    return Group("Start-up", NOTE, [at_most(what, ms(median(ours)), ms(median(theirs)), ratio_of(ours, theirs), 1.0)])
