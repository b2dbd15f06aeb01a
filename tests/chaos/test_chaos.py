"""A short chaos run, refusals that do not heal, a restart, back-pressure. Longer runs: `make chaos`, `make soak`."""

import anyio
import pytest

from evi_mcp.supervision.following import Pace
from tests.chaos.agents import call
from tests.chaos.faults import Schedule
from tests.chaos.pressure import MAX_GROWTH_MIB, UNREAD_ANSWERS, others, stop_reading
from tests.chaos.proxy import breaking
from tests.chaos.report import details, totals
from tests.chaos.run import run
from tests.chaos.served import served
from tests.chaos.truth import Truth, telling
from tests.harness import CHAT, agent_on, supervising

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
            page = await agent.call("read_events", chat_id=CHAT)
            assert page["events"][0]["type"] == "chat_metadata"


class _Refusing(Schedule):
    """Lets the first connection through and refuses all others."""

    def __init__(self, status: int) -> None:
        super().__init__("none", kinds=frozenset())
        self._status = status

    def refusal(self, chat_id: str, connection: int) -> int | None:
        return self._status if connection > 1 else None


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
            assert page["gap"] == {"reason": "restarted", "oldest_seq": page["events"][0]["seq"]}
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


async def test_other_chats_are_followed_while_one_pours_in_and_a_thousand_waits_come_and_go() -> None:
    """One chat must not keep the others from their agents. How late they are, `make pressure` shows."""
    found = await others(2, seed=1)
    print(found)
    assert all(found["late"].values()), "other chats were not followed meanwhile"
    assert found["events"] > 1000 and found["called_off"] > 0
