"""A short chaos run, refusals that do not heal, a restart, back-pressure. Longer runs: `make chaos`, `make soak`."""

from typing import Any

import anyio
import pytest

from evi_mcp.supervision.following import Pace
from tests import frames
from tests.chaos.agents import ALL_TYPES, call
from tests.chaos.faults import Fault, Kind, Schedule
from tests.chaos.pressure import MAX_GROWTH_MIB, UNREAD_ANSWERS, others, stop_reading
from tests.chaos.proxy import breaking
from tests.chaos.report import details, totals
from tests.chaos.run import run
from tests.chaos.served import served
from tests.chaos.truth import Truth, telling
from tests.harness import CHAT, Agent, agent_on, supervising

pytestmark = [pytest.mark.anyio, pytest.mark.alone]


async def test_nothing_is_lost_doubled_or_written_twice_whatever_breaks() -> None:
    """Our contract (sections 4 and 5), with a few seconds of all faults at once. To repeat: `make chaos SEED=7`."""
    outcome = await run(7, chats=8, seconds=5, at_least=10)
    print(details(outcome), totals(outcome), sep="\n")
    assert not outcome.problems
    assert outcome.faults.total() >= 10 and outcome.reconnects.total() > 8
    assert sum(one.log for one in outcome.events.values()) > 100
    assert sum(one.written for one in outcome.commands.values()) >= 10


@pytest.mark.parametrize(
    ("status", "state"), [(401, "failed"), (403, "failed"), (400, "failed"), (404, "ended"), (410, "ended")]
)
async def test_a_refusal_that_does_not_heal_is_the_end_of_a_chat_that_was_live(status: int, state: str) -> None:
    """Our contract (section 3). What was said stays readable."""
    async with telling(Truth("final", [CHAT])) as truth, breaking(truth.port, _Refusing(status)) as proxy:
        async with supervising(base_url=proxy.base_url, pace=Pace()) as server, agent_on(server) as agent:
            await agent.call("attach_chat", chat_id=CHAT)
            proxy.cut()
            with anyio.fail_after(10):
                chat = await agent.until_state(state)
            assert str(status) in chat["reason"]
            page = await agent.call("read_events", chat_id=CHAT, types=ALL_TYPES)
            assert page["events"][0]["type"] == "chat_metadata"


class _Refusing(Schedule):
    """Lets the first connection through and refuses all others."""

    def __init__(self, status: int) -> None:
        super().__init__("none", kinds=frozenset())
        self._status = status

    def refusal(self, chat_id: str, connection: int) -> int | None:
        return self._status if connection > 1 else None


class _Meeting(Schedule):
    """These faults from this connection on, and no others."""

    def __init__(self, *faults: Fault, connection: int = 1) -> None:
        super().__init__("meeting")
        self._faults, self._from = faults, connection

    def refusal(self, chat_id: str, connection: int) -> int | None:
        return None

    def faults(self, chat_id: str, connection: int, history: int) -> list[Fault]:
        return list(self._faults) if connection >= self._from else []


@pytest.mark.parametrize("code", [1008, 4001])
async def test_a_policy_close_right_after_the_accept_is_the_end_of_a_chat_that_was_live(code: int) -> None:
    """As a refused handshake is: 25 connections in 30 s, each closed like the one before, were of use to nobody."""
    schedule = _Meeting(Fault(Kind.CLOSE, 1, code), connection=2)
    async with telling(Truth("policy", [CHAT])) as truth, breaking(truth.port, schedule) as proxy:
        async with supervising(base_url=proxy.base_url, pace=Pace()) as server, agent_on(server) as agent:
            await agent.call("attach_chat", chat_id=CHAT)
            proxy.cut()
            with anyio.fail_after(20):
                chat = await agent.until_state("failed")
            assert f"closed the connection with {code} as soon as it was accepted" in chat["reason"]
            assert proxy.connections[CHAT] == 2


async def test_an_attach_that_is_answered_with_a_policy_close_says_so_and_leaves_nothing() -> None:
    """Our contract (section 3): an attach that can never succeed is a tool error."""
    schedule = _Meeting(Fault(Kind.CLOSE, 1, 1008))
    async with telling(Truth("policy", [CHAT])) as truth, breaking(truth.port, schedule) as proxy:
        async with supervising(base_url=proxy.base_url, pace=Pace()) as server, agent_on(server) as agent:
            text = await agent.error("attach_chat", chat_id=CHAT)
            assert "1008" in text and "chaos" in text
            assert (await agent.call("list_chats"))["chats"] == []


async def test_a_history_that_comes_a_second_after_chat_metadata_is_no_news() -> None:
    """It was taken for live: old anger woke triggers, and calls that were answered long ago were answered again."""
    schedule = _Meeting(Fault(Kind.SLOW, 1, 1.0))
    async with telling(Truth("slow", [CHAT])) as truth, breaking(truth.port, schedule) as proxy:
        truth.happen(CHAT, frames.user("I am furious.", 1000), frames.tool_call("t1"), frames.tool_response("t1"))
        truth.happen(CHAT, frames.assistant("I see.", "m-1"), frames.end())
        async with supervising(base_url=proxy.base_url, pace=Pace()) as server, agent_on(server) as agent:
            cursor = (await agent.call("attach_chat", chat_id=CHAT))["cursor"]
            truth.happen(CHAT, frames.user("Thank you.", 60_000))
            await agent.call("wait_for_events", after=cursor, types=["user_message"])
            read = await _of_the_chat(agent)
            assert [event.get("text") for event in read if "replayed" not in event] == ["Thank you."]
            assert len(read) == len(truth.chats[CHAT].history)


async def test_replays_that_pause_after_chat_metadata_double_nothing() -> None:
    """Each reconnect logged again whatever has no identity of its own."""
    schedule = _Meeting(Fault(Kind.SLOW, 1, 0.3))
    async with telling(Truth("pause", [CHAT])) as truth, breaking(truth.port, schedule) as proxy:
        alike = [frames.end(), frames.typed("yes"), frames.settings(voice_id="v"), frames.error(), frames.frame("new")]
        truth.happen(CHAT, frames.user("Hello?", 1000), *alike, frames.assistant("Yes?", "m-1"), *alike)
        async with supervising(base_url=proxy.base_url, pace=Pace()) as server, agent_on(server) as agent:
            cursor = (await agent.call("attach_chat", chat_id=CHAT))["cursor"]
            for _ in range(3):
                proxy.cut()
                states: list[str] = []
                while "live" not in states:
                    page = await agent.call("wait_for_events", after=cursor, types=["chat_state"])
                    cursor = page["cursor"]
                    states += [event["state"] for event in page["events"]]
            assert len(await _of_the_chat(agent)) == len(truth.chats[CHAT].history)


async def _of_the_chat(agent: Agent) -> list[dict[str, Any]]:
    """All events but those of our own."""
    events = (await agent.call("read_events", chat_id=CHAT, types=[*ALL_TYPES, "new"], limit=200, max_chars=50_000))[
        "events"
    ]
    return [event for event in events if event["type"] != "chat_state"]


async def test_a_new_process_says_that_it_was_restarted_and_has_the_whole_history_again() -> None:
    """Our contract (section 4): an old cursor never fails; the page starts at the oldest event and carries a gap."""
    async with telling(Truth("restart", [CHAT])) as truth:
        talk = truth.chats[CHAT]
        for _ in range(30):
            talk.go_on()
        base_url = f"http://127.0.0.1:{truth.port}"
        async with served(base_url) as client:
            await call(client, "attach_chat", chat_id=CHAT)
            before = await call(client, "read_events", chat_id=CHAT, limit=200, max_chars=50_000)
        truth.speak_up(CHAT)
        async with served(base_url) as client:
            await call(client, "attach_chat", chat_id=CHAT)
            old = {"after": before["cursor"], "limit": 200, "max_chars": 50_000}
            page = await call(client, "read_events", chat_id=CHAT, **old)
            oldest = (await call(client, "read_events", chat_id=CHAT, types=ALL_TYPES, limit=1))["events"][0]["seq"]
            assert page["gap"] == {"reason": "restarted", "oldest_seq": oldest}
            omitted = sum(page.get("omitted", {}).values())
            states = sum(event["type"] == "chat_state" for event in page["events"])
            assert len(page["events"]) - states + omitted == len(talk.history)
            following = await call(client, "read_events", chat_id=CHAT, after=page["cursor"])
            assert "gap" not in following and following["events"] == []


async def test_a_client_that_reads_nothing_costs_bounded_memory_and_finds_all_its_answers_later() -> None:
    """The socket is drained whatever agents do. What the log could not keep is said in `gap`."""
    found = await stop_reading(2)
    print(found)
    assert found["grown_mib"] < MAX_GROWTH_MIB
    assert found["answers"] == UNREAD_ANSWERS
    assert found["state"] == "live" and found["quiet_events"]
    assert found["events"] <= 10_000 or found["gap"]["reason"] == "expired"


async def test_other_chats_are_followed_while_one_floods_and_a_thousand_waits_come_and_go() -> None:
    """One chat must not keep the others from their agents. How late they are, `make pressure` shows."""
    found = await others(2, seed=1)
    print(found)
    assert all(found["late"].values()), "other chats were not followed meanwhile"
    assert found["events"] > 1000 and found["called_off"] > 0
