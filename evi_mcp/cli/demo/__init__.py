"""`evi-mcp demo`: a supervised call in the terminal, with a real client, server process and sockets; with `--bot`, a
real bot as well."""

import asyncio

from evi_mcp.cli.demo.display import DemoDisplay
from evi_mcp.cli.demo.real_bot import BotFailed, NoBot, examples
from evi_mcp.cli.demo.supervise import Steps, supervise
from evi_mcp.cli.demo.supervise_bot import BotSteps, supervise_bot

TIME_LIMIT_S = 58.0


def run(bot: bool = False) -> int:
    """Shows the call; 0 if each of its steps really happened, else 1.

    Args:
        bot: Show it on a Pipecat bot; 2 if there can be none.
    """
    display = DemoDisplay()
    try:
        if bot:
            examples()
        return _run(display, bot)
    except NoBot as error:
        display.failed(str(error))
        return 2
    finally:
        display.close()


def _run(display: DemoDisplay, bot: bool) -> int:
    try:
        steps = asyncio.run(_within_the_limit(display, bot))
    except TimeoutError:
        display.failed(f"the call did not come to its end within {TIME_LIMIT_S:g} s")
        return 1
    except BotFailed as error:
        display.failed(str(error))
        return 1
    except BaseExceptionGroup as group:
        display.failed("; ".join(_leaves(group)))
        return 1
    display.summary(steps)
    return 0 if all(steps.happened().values()) else 1


async def _within_the_limit(display: DemoDisplay, bot: bool) -> Steps | BotSteps:
    async with asyncio.timeout(TIME_LIMIT_S):
        return await (supervise_bot(display) if bot else supervise(display))


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[str]:
    texts: list[str] = []
    for error in group.exceptions:
        texts += _leaves(error) if isinstance(error, BaseExceptionGroup) else [f"{type(error).__name__}: {error}"]
    return texts
