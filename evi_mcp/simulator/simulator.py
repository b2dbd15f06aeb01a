"""The simulator: a hub on this machine, and the scripted bots that make it lively."""

import secrets
from collections.abc import Collection
from contextlib import AsyncExitStack

import anyio
from anyio.abc import TaskGroup

from evi_mcp.hub import Hub
from evi_mcp.opened import Opened
from evi_mcp.simulator.bots import ScriptedBot, ScriptedBots
from evi_mcp.simulator.credentials import Credentials
from evi_mcp.simulator.primary import PrimarySocket, token_route
from evi_mcp.simulator.scenario import scenarios
from evi_mcp.simulator.scripted_call import Timing

BREAK_S = 5.0
"""Between the end of a scripted call and the next run of its script, at speed 1."""


class Simulator(Opened):
    """A stand-in for EVI on this machine, open as long as its `async with` block.

        async with Simulator() as sim:
            print(sim.base_url)

    Args:
        host: Where to listen; there is no encryption, so keep it a loopback address.
        port: 0 takes a free one.
        api_key: The key to accept; `None` accepts every key that is not empty.
        secret_key: What `/oauth2-cc/token` takes beside the key; `None` likewise.
        speed: How many times faster than life scripted calls and EVI's speech are. Whoever has to answer gets
            no less time for it.
        calls: The scripts that are played from the start, and again some seconds after each has ended; `None` for all.
        seed: The same one makes the same ids and scores; `None` makes others each time.
        tool_timeout_s: How long a tool call may stay unanswered, in seconds.
        inactivity_timeout_s: After how many seconds without a word of the user a typed chat ends; `None` for never.
        max_duration_s: After how many seconds any chat ends.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        api_key: str | None = None,
        secret_key: str | None = None,
        speed: float = 1.0,
        calls: Collection[str] | None = None,
        seed: int | None = None,
        tool_timeout_s: float = 45.0,
        inactivity_timeout_s: float | None = 120.0,
        max_duration_s: float = 1800.0,
    ) -> None:
        if speed <= 0:
            raise ValueError("speed must be greater than 0")
        self._speed = speed
        self._calls = self.scenarios if calls is None else calls
        credentials = Credentials(api_key, secret_key)
        self.hub = Hub(host, port, authorize=lambda headers, query: credentials.accept(headers, query, self._now()))
        self._started = self.hub.clock.elapsed()
        self._bots = ScriptedBots(
            self.hub,
            seed=secrets.randbits(64) if seed is None else seed,
            timing=Timing(speed, tool_timeout_s, inactivity_timeout_s, max_duration_s),
            clock=self._now,
            epoch_ms=int(self.hub.clock.now() * 1000),
        )
        primary = PrimarySocket(self.hub, self._bots, self._start)
        self.hub.addresses.routes[:0] = primary.routes
        self.hub.routes.append(token_route(credentials, self._now))
        self._tasks: TaskGroup | None = None

    @property
    def base_url(self) -> str:
        """What clients are given, such as `http://127.0.0.1:49152`."""
        assert self.hub.base_url is not None, "the simulator is not open"
        return self.hub.base_url

    @property
    def scenarios(self) -> tuple[str, ...]:
        """The names of the scripts."""
        return tuple(scenarios())

    def start_call(self, name: str, chat_id: str | None = None) -> str:
        """Starts a call that plays a script, and returns its chat id.

        Args:
            name: One of `scenarios`.
            chat_id: `None` makes a UUID.

        Raises:
            KeyError: There is no such script.
            ChatIdTaken: There is a live chat with this id.
        """
        return self._start_script(name, chat_id).source.chat_id

    async def _open(self, stack: AsyncExitStack) -> None:
        await stack.enter_async_context(self.hub)
        self._tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(self._tasks.cancel_scope.cancel)
        for name in self._calls:
            self._tasks.start_soon(self._repeat, name, self._start_script(name))

    def _now(self) -> float:
        return self.hub.clock.elapsed() - self._started

    def _start_script(self, name: str, chat_id: str | None = None) -> ScriptedBot:
        bot = self._bots.open(scenarios()[name], chat_id=chat_id)
        self._start(bot)
        return bot

    def _start(self, bot: ScriptedBot) -> None:
        assert self._tasks is not None, "the simulator is not open"
        self._tasks.start_soon(bot.run)

    async def _repeat(self, name: str, bot: ScriptedBot) -> None:
        """Plays a script again and again, with a break between two runs."""
        while True:
            await bot.over.wait()
            await anyio.sleep(BREAK_S / self._speed)
            bot = self._start_script(name)
