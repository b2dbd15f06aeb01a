"""One chaos run: many chats, hundreds of faults, agents throughout, and the count at the end."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import anyio
from mcp import Client

from evi_mcp.supervision.following import Pace
from evi_mcp.upstream import websocket
from tests.chaos.agents import Actor, Follower, call
from tests.chaos.count import Commands, Events, account, compare
from tests.chaos.faults import Kind, Schedule
from tests.chaos.proxy import FaultProxy, breaking
from tests.chaos.served import PING_S, served
from tests.chaos.truth import Truth, telling
from tests.harness import supervising

SETTLE_S = 90.0
"""How long a chat may take to be live again once the faults have ended: the last wait before an attempt is 30 s."""
STDIO_SHARE = 10
"""One in so many chats is followed by a second server: a real process, spoken to over stdio."""


@dataclass
class Side:
    """One server under test: its own proxy, its agents, and what they noted."""

    name: str
    proxy: FaultProxy
    clients: list[Client]
    followers: dict[str, Follower] = field(default_factory=dict)
    watcher: Follower | None = None
    actors: dict[str, Actor] = field(default_factory=dict)
    reconnects: Counter[str] = field(default_factory=Counter)


@dataclass
class Outcome:
    """What a run counted: `events` by reader and chat, `commands` by chat."""

    seed: int
    events: dict[tuple[str, str], Events]
    commands: dict[str, Commands]
    faults: Counter[str]
    reconnects: Counter[str]
    gaps: int
    unsettled: list[str]

    @property
    def problems(self) -> list[str]:
        """All that must not be, in words."""
        found = [f"{chat} ({name}): {p}" for (name, chat), one in self.events.items() for p in one.problems]
        found += [f"{chat}: {p}" for chat, one in self.commands.items() for p in one.problems]
        found += [f"{chat} was not live again within {SETTLE_S:g} s" for chat in self.unsettled]
        return found + ([f"{self.gaps} pages had a gap"] if self.gaps else [])


async def run(
    seed: int, chats: int, seconds: float, kinds: frozenset[Kind] = frozenset(Kind), at_least: int = 0
) -> Outcome:
    """Lets things break for so many seconds, and until `at_least` faults were met and as many commands have arrived
    (a busy machine takes longer; ten times as long at most), then heals all of them, and counts."""
    chat_ids = [f"chat-{number:02}" for number in range(1, chats + 1)]
    # A black hole is found out by pings; at the usual 20 s a short run would see none of it.
    usual = websocket.PING_INTERVAL_S, websocket.PING_TIMEOUT_S
    websocket.PING_INTERVAL_S = websocket.PING_TIMEOUT_S = PING_S
    try:
        async with telling(Truth(seed, chat_ids)) as truth, AsyncExitStack() as stack:
            far = max(1, chats // STDIO_SHARE)
            sides = [
                await stack.enter_async_context(_in_process(truth, Schedule(seed, kinds=kinds), chat_ids[far:])),
                await stack.enter_async_context(_over_stdio(truth, Schedule(seed, kinds=kinds), chat_ids[:far])),
            ]
            truth.speak(*chat_ids)

            def busy_enough() -> bool:
                faults = sum(side.proxy.done.total() for side in sides)
                return min(faults, sum(len(talk.commands) for talk in truth.chats.values())) >= at_least

            await _be_agents(sides, seed, seconds, busy_enough)
            truth.hush()
            unsettled = [chat_id for side in sides for chat_id in await _heal(side, truth)]
            return _count(seed, truth, sides, unsettled)
    finally:
        websocket.PING_INTERVAL_S, websocket.PING_TIMEOUT_S = usual


@asynccontextmanager
async def _in_process(truth: Truth, schedule: Schedule, chat_ids: list[str]) -> AsyncIterator[Side]:
    """A server with four clients, of both protocol eras. A fifth agent looks at all of its chats at once."""
    async with (
        breaking(truth.port, schedule) as proxy,
        supervising(base_url=proxy.base_url, pace=Pace()) as server,
        Client(server) as one,
        Client(server) as two,
        Client(server, mode="legacy") as three,
        Client(server, mode="legacy") as four,
        Client(server) as watching,
    ):
        side = Side("memory", proxy, [one, two, three, four])
        side.watcher = Follower(watching)
        _staff(side, chat_ids)
        yield side


@asynccontextmanager
async def _over_stdio(truth: Truth, schedule: Schedule, chat_ids: list[str]) -> AsyncIterator[Side]:
    """A server as clients start it."""
    async with breaking(truth.port, schedule) as proxy, served(proxy.base_url) as client:
        side = Side("stdio", proxy, [client])
        _staff(side, chat_ids)
        yield side


def _staff(side: Side, chat_ids: list[str]) -> None:
    for number, chat_id in enumerate(chat_ids):
        follower = Follower(side.clients[number % len(side.clients)], [chat_id])
        side.followers[chat_id] = follower
        side.actors[chat_id] = Actor(f"{side.name} {chat_id}", side.clients, follower, chat_id, pace=1.0)


async def _be_agents(sides: list[Side], seed: int, seconds: float, busy_enough: Callable[[], bool]) -> None:
    """All of them at work, for so many seconds, and longer if that was not enough."""
    with anyio.move_on_after(10 * seconds):
        async with anyio.create_task_group() as group:
            for side in sides:
                for chat_id, follower in side.followers.items():
                    rng = random.Random(f"{seed}/{side.name}/{chat_id}")
                    group.start_soon(_follow, side, follower, rng)
                    group.start_soon(_act, side, chat_id, random.Random(rng.random()))
                if side.watcher:
                    group.start_soon(_follow, side, side.watcher, random.Random(seed))
            await anyio.sleep(seconds)
            while not busy_enough():  # noqa: ASYNC110 - nothing tells of it
                await anyio.sleep(0.1)
            group.cancel_scope.cancel()


async def _follow(side: Side, follower: Follower, rng: random.Random) -> None:
    # Attaching twice is the same as once, and no agent waits for another.
    for chat_id in follower.chat_ids or list(side.followers)[:1]:
        await call(follower.client, "attach_chat", chat_id=chat_id)
    await follower.follow(rng)


async def _act(side: Side, chat_id: str, rng: random.Random) -> None:
    await call(side.clients[0], "attach_chat", chat_id=chat_id)
    await side.actors[chat_id].act(rng)


async def _heal(side: Side, truth: Truth) -> list[str]:
    """The end of all faults, and all of it read; the chats that were not live again in time.

    First no connection breaks any more, and EVI speaks once in each chat: so that the end of what is known is known.
    Then come two whole replays: one brings back what was kept from the server, the other must bring nothing.
    """
    side.proxy.schedule.calm = True
    unsettled = await _reconnected(side)
    said = {chat_id: truth.speak_up(chat_id) for chat_id in side.followers}
    for chat_id, follower in side.followers.items():
        with anyio.move_on_after(SETTLE_S):
            while all(event.get("message_id") != said[chat_id] for event in follower.events[chat_id]):
                await follower.read("wait_for_events", timeout_s=5)
    side.proxy.schedule.whole = True
    for _ in range(2):
        unsettled += await _reconnected(side)
    for follower in (*side.followers.values(), *filter(None, [side.watcher])):
        await follower.catch_up()
    return unsettled


async def _reconnected(side: Side) -> list[str]:
    """Cuts every connection and returns when all chats are live on a new one; those that were not in time."""
    client, unsettled, before = side.clients[0], [], {}
    for chat_id in side.followers:
        before[chat_id] = (await call(client, "attach_chat", chat_id=chat_id))["reconnects"]
    side.proxy.cut()
    for chat_id in side.followers:
        with anyio.move_on_after(SETTLE_S) as patience:
            while True:
                chat = await call(client, "get_chat", chat_id=chat_id)
                if chat["state"] == "live" and chat["reconnects"] > before[chat_id]:
                    break
                await anyio.sleep(0.1)  # no event tells of a connection that stands, but is in its replay
        side.reconnects[chat_id] = chat["reconnects"]
        if patience.cancelled_caught:
            unsettled.append(f"{chat_id} ({side.name}, {chat['state']})")
    return unsettled


def _count(seed: int, truth: Truth, sides: list[Side], unsettled: list[str]) -> Outcome:
    events, commands = {}, {}
    for side in sides:
        for chat_id, follower in side.followers.items():
            history = truth.chats[chat_id].history
            kept_back = [(one.number, one.link.passed) for one in side.proxy.withheld[chat_id]]
            events[side.name, chat_id] = compare(history, follower.events[chat_id], kept_back)
            if side.watcher:
                events["watcher", chat_id] = compare(history, side.watcher.events[chat_id], kept_back)
            commands[chat_id] = account(side.actors[chat_id].asked, truth.chats[chat_id].commands)
    followers = [one for side in sides for one in (*side.followers.values(), side.watcher) if one]
    return Outcome(
        seed,
        events,
        commands,
        sum((side.proxy.done for side in sides), Counter()),
        sum((side.reconnects for side in sides), Counter()),
        sum(len(one.gaps) for one in followers),
        unsettled,
    )
