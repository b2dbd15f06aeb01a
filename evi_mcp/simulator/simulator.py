"""The simulator: a service, its sockets, and the scripted calls that make it lively."""

import secrets
import time
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import SocketAttribute, TaskGroup

from evi_mcp.simulator.api import Admission, Api
from evi_mcp.simulator.credentials import Credentials
from evi_mcp.simulator.engine import ChatEngine, Timing
from evi_mcp.simulator.scenario import scenarios
from evi_mcp.simulator.server import Front
from evi_mcp.simulator.service import EviService

BREAK_S = 5.0
"""Between the end of a scripted call and the next run of its script, at speed 1."""


class LiveChat:
    """A chat that is being played: wakes whoever waits for something to happen in it."""

    def __init__(self, engine: ChatEngine) -> None:
        self.engine = engine
        self.changed = anyio.Event()
        engine.on_change = self.wake

    def wake(self) -> None:
        changed, self.changed = self.changed, anyio.Event()
        changed.set()


class Simulator:
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
        calls: Whether each script is played from the start, and again some seconds after it has ended.
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
        calls: bool = True,
        seed: int | None = None,
        tool_timeout_s: float = 45.0,
        inactivity_timeout_s: float | None = 120.0,
        max_duration_s: float = 1800.0,
    ) -> None:
        if speed <= 0:
            raise ValueError("speed must be greater than 0")
        self._host = host
        self._port = port
        self._speed = speed
        self._calls = calls
        self._started = time.monotonic()
        self.service = EviService(
            seed=secrets.randbits(64) if seed is None else seed,
            epoch_ms=int(time.time() * 1000),
            timing=Timing(speed, tool_timeout_s, inactivity_timeout_s, max_duration_s),
        )
        self._front = Front(Api(self.service, Credentials(api_key, secret_key)), self._now, self._play)
        self._live: dict[str, LiveChat] = {}
        self._tasks: TaskGroup | None = None
        self._exit: AsyncExitStack | None = None

    @property
    def base_url(self) -> str:
        """What clients are given, such as `http://127.0.0.1:49152`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

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
            ValueError: There is a chat with this id.
        """
        engine = self.service.open_chat(self._now(), scenario=scenarios()[name], chat_id=chat_id)
        self._start(engine)
        return engine.opening.chat_id

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            listener = await anyio.create_tcp_listener(local_host=self._host, local_port=self._port)
            await stack.enter_async_context(listener)
            self._port = listener.extra(SocketAttribute.local_port)
            self._tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(self._tasks.cancel_scope.cancel)
            self._tasks.start_soon(listener.serve, self._front.serve)
            if self._calls:
                for name in self.scenarios:
                    self._tasks.start_soon(self._repeat, name, self.start_call(name))
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._exit is not None
        if isinstance(exc, Exception):
            await self._exit.aclose()  # not told of it: a task group would wrap it, and hide what went wrong
            return None
        return await self._exit.__aexit__(exc_type, exc, traceback)

    def _now(self) -> float:
        return time.monotonic() - self._started

    def _play(self, admission: Admission) -> LiveChat:
        known = self._live.get(admission.chat.opening.chat_id)
        return known or self._start(admission.chat)

    def _start(self, engine: ChatEngine) -> LiveChat:
        assert self._tasks is not None, "the simulator is not open"
        live = self._live[engine.opening.chat_id] = LiveChat(engine)
        self._tasks.start_soon(self._drive, live)
        return live

    async def _drive(self, live: LiveChat) -> None:
        """Moves a chat on whenever something is due in it, until it ends."""
        while True:
            live.engine.advance(self._now())
            due = live.engine.next_due()
            if due is None:
                break
            with anyio.move_on_after(max(0.0, due - self._now())):
                await live.changed.wait()
        del self._live[live.engine.opening.chat_id]
        live.wake()

    async def _repeat(self, name: str, chat_id: str) -> None:
        """Plays a script again and again, with a break between two runs."""
        while True:
            while (live := self._live.get(chat_id)) is not None:
                await live.changed.wait()
            await anyio.sleep(BREAK_S / self._speed)
            chat_id = self.start_call(name)
