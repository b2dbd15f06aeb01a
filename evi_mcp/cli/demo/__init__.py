"""`evi-mcp demo`: a supervised call in the terminal, with a real client, server process and sockets."""

import asyncio

from evi_mcp.cli.demo.display import DemoDisplay
from evi_mcp.cli.demo.supervise import Steps, supervise

TIME_LIMIT_S = 58.0


def run() -> int:
    """Shows the call; 0 if each of its steps really happened, else 1."""
    display = DemoDisplay()
    try:
        return _run(display)
    finally:
        display.close()


def _run(display: DemoDisplay) -> int:
    try:
        steps = asyncio.run(_within_the_limit(display))
    except TimeoutError:
        display.failed(f"the call did not come to its end within {TIME_LIMIT_S:g} s")
        return 1
    except BaseExceptionGroup as group:
        display.failed("; ".join(_leaves(group)))
        return 1
    display.summary(steps)
    return 0 if all(steps.happened().values()) else 1


async def _within_the_limit(display: DemoDisplay) -> Steps:
    async with asyncio.timeout(TIME_LIMIT_S):
        return await supervise(display)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[str]:
    texts: list[str] = []
    for error in group.exceptions:
        texts += _leaves(error) if isinstance(error, BaseExceptionGroup) else [f"{type(error).__name__}: {error}"]
    return texts
