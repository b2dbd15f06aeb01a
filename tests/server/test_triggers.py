"""`until`: an agent sleeps until something matters, over many chats, and then sees all that happened meanwhile."""

import json
from typing import Any

import anyio
import pytest

from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT, Agent, agent_on, service_behind, supervising

pytestmark = pytest.mark.anyio

OTHER = "chat-2"


def angry(text: str, begin: int, anger: float) -> str:
    return frames.user(text, begin, scores={"Anger": anger, "Joy": 0.1})


EXPRESSION = {"kind": "expression", "score": "Anger", "at_least": 0.5}


@pytest.mark.parametrize(
    ("trigger", "before", "met_by"),
    [
        ({"kind": "event", "types": ["tool_call", "error"]}, [frames.user("Hi.", 100)], frames.tool_call("call_9")),
        (EXPRESSION, [angry("Hm.", 100, 0.49), frames.assistant("Yes?", "m-2")], angry("No!", 5000, 0.5)),
        (
            {**EXPRESSION, "turns": 2},
            [angry("No!", 100, 0.9), frames.assistant("Sorry.", "m-2")],
            angry("No, no!", 5000, 0.6),
        ),
        (
            {**EXPRESSION, "score": "sympathy", "speaker": "assistant"},
            [angry("No!", 100, 0.9), frames.assistant("Oh.", "m-2")],
            frames.prosody("m-2", Sympathy=0.7),
        ),
        (
            {"kind": "text", "contains": "Money  BACK", "speaker": "user"},
            [frames.assistant("Your money back?", "m-2"), frames.user("my money back", 100, interim=True)],
            frames.user("I want my money back!", 100),
        ),
        ({"kind": "text", "contains": "refund"}, [frames.user("Hm.", 100)], frames.assistant("A refund it is.", "m-2")),
        ({"kind": "turn_end"}, [frames.user("Hi.", 100), frames.assistant("Yes?", "m-2")], frames.end()),
        ({"kind": "turn_end"}, [frames.assistant("Well, what I", "m-2")], frames.interruption()),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("late", [False, True], ids=["while it sleeps", "before it calls"])
async def test_only_what_meets_the_trigger_wakes_and_the_page_holds_all_since_the_cursor(
    evi: FakeEvi, agent: Agent, live: str, trigger: dict[str, Any], before: list[str], met_by: str, late: bool
) -> None:
    """Our contract (section 5): nothing between is lost; and what an agent was too slow to wait for, it still meets."""
    await evi.push(CHAT, *before)
    page = await agent.call("wait_for_events", after=live, until=[trigger], timeout_s=0.2)
    assert page["woken_by"] == "timeout" and len(page["events"]) >= 1
    if late:
        await evi.push(CHAT, met_by, frames.error("W0001", "mark"))
        await agent.call("wait_for_events", after=page["cursor"], types=["error"])
        woken = await agent.call("wait_for_events", after=live, until=[trigger])
    else:
        async with agent.waiting(after=live, until=[trigger]) as pages:
            await anyio.wait_all_tasks_blocked()
            await evi.push(CHAT, met_by)
        [woken] = pages
    assert (woken["woken_by"], woken["trigger"]) == ("trigger", trigger)
    shown = await agent.call("read_events", chat_id=CHAT, after=live)
    met = await agent.call("read_events", chat_id=CHAT, after=page["cursor"], types=[_type_of(met_by)])
    assert woken["triggered_by"] == {"seq": met["events"][0]["seq"]}
    assert [event["seq"] for event in woken["events"]] == [event["seq"] for event in shown["events"]]
    again = await agent.call("wait_for_events", after=woken["cursor"], until=[trigger], timeout_s=0)
    assert again["woken_by"] == "timeout", "what was met before the cursor is not met again"


def _type_of(frame: str) -> str:
    return str(json.loads(frame)["type"])


async def test_a_wait_over_all_chats_wakes_for_the_first_and_shows_every_chat(evi: FakeEvi, agent: Agent) -> None:
    """Our contract (section 5), also for a chat that is attached while it sleeps."""
    evi.history[CHAT] = [frames.metadata(CHAT)]
    evi.history[OTHER] = [frames.metadata(OTHER)]
    await agent.call("attach_chat", chat_id=CHAT)
    async with agent.waiting(until=[{"kind": "turn_end"}]) as pages:
        await anyio.wait_all_tasks_blocked()
        await agent.call("attach_chat", chat_id=OTHER)
        await evi.push(CHAT, frames.user("Hello?", 100))
        await agent.call("wait_for_events", chat_ids=[CHAT], types=["user_message"], after="earliest")
        await evi.push(OTHER, frames.end())
    [page] = pages
    assert page["triggered_by"]["chat_id"] == OTHER
    said = [(event["chat_id"], event["type"]) for event in page["events"] if event["type"] != "chat_state"]
    assert said == [(CHAT, "user_message")]
    assert page["omitted"] == {"chat_metadata": 1, "assistant_end": 1}


async def test_a_trigger_may_be_about_one_of_several_chats(evi: FakeEvi, agent: Agent) -> None:
    """An agent waits for something else in each of its chats."""
    for chat_id in (CHAT, OTHER):
        evi.history[chat_id] = [frames.metadata(chat_id)]
        await agent.call("attach_chat", chat_id=chat_id)
    until = [{"kind": "turn_end", "chat_id": OTHER}]
    async with agent.waiting(until=until) as pages:
        await anyio.wait_all_tasks_blocked()
        await evi.push(CHAT, frames.end(), frames.user("mark", 1))
        await agent.call("wait_for_events", chat_ids=[CHAT], types=["user_message"], after="earliest")
        await evi.push(OTHER, frames.end())
    assert (pages[0]["trigger"], pages[0]["triggered_by"]["chat_id"]) == (until[0], OTHER)
    said = await agent.error("wait_for_events", until=until, chat_ids=[CHAT])
    assert said.startswith(f"a trigger is about the chat {OTHER}, which is not among chat_ids")


async def test_a_voice_that_calms_down_wakes(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Did the whisper help? A fall is reckoned against the turns before, those of the history included."""
    until = [{"kind": "expression", "score": "Anger", "rise": -0.3}]
    async with agent.waiting(after=live, until=until) as pages:
        await anyio.wait_all_tasks_blocked()
        for number, anger in enumerate((0.8, 0.7, 0.2)):
            await evi.push(CHAT, angry("words", 1000 * number + 500, anger), frames.assistant("Yes.", f"m-{number}"))
    [page] = pages
    met = next(event for event in page["events"] if event["seq"] == page["triggered_by"]["seq"])
    assert met["expression"] == {"Anger": 0.2, "Joy": 0.1} and page["trigger"] == until[0]


async def test_a_score_of_another_service_can_be_waited_for(evi: FakeEvi, agent: Agent) -> None:
    """EVI has 48; what scores a bot on a hub gives, nobody knows before they have come."""
    evi.history[CHAT] = [frames.metadata()]
    evi.history[OTHER] = [frames.metadata(OTHER, source="pipecat")]
    await agent.call("attach_chat", chat_id=CHAT)
    until = {"kind": "expression", "score": "Stress", "at_least": 0.5}
    assert 'there is no score "Stress"; the scores are Distress, ' in await agent.error("wait_for_events", until=until)
    await agent.call("attach_chat", chat_id=OTHER)
    page = await agent.call("wait_for_events", until=until)
    assert page["woken_by"] == "no_scores" and "has ever given" in page["note"], "none has it, and it says so at once"
    cursor = page["cursor"]
    await evi.push(OTHER, frames.user("Hm.", 100, scores={"Stress": 0.2}))
    await agent.call("wait_for_events", after=cursor)
    async with agent.waiting(until=until) as pages:
        await anyio.wait_all_tasks_blocked()
        await evi.push(OTHER, frames.assistant("Yes?", "m-1"), frames.user("No!", 5000, scores={"Stress": 0.9}))
    assert (pages[0]["woken_by"], pages[0]["triggered_by"]["chat_id"]) == ("trigger", OTHER)


async def test_a_silence_wakes_its_sleeper(evi: FakeEvi, agent: Agent, live: str) -> None:
    """No event tells of it: a timer does."""
    trigger = {"kind": "silence", "seconds": 0.3}
    page = await agent.call("wait_for_events", until=[trigger])
    assert (page["woken_by"], page["trigger"], "triggered_by" in page) == ("trigger", trigger, False)


async def test_what_time_brings_wakes_once_and_then_only_after_as_long_again(evi: FakeEvi) -> None:
    """Else an agent that waits on would be woken at once, again and again, and pay for every time."""
    evi.history[CHAT] = [frames.metadata(), frames.tool_call("call_1")]
    triggers = [{"kind": "silence", "seconds": 600}, {"kind": "tool_call_waiting", "seconds": 600}]
    async with supervising(evi) as server, agent_on(server) as agent:
        cursor = (await agent.call("attach_chat", chat_id=CHAT))["cursor"]
        record = service_behind(server).registry.get(CHAT).record
        attached = service_behind(server).registry.house.clock.elapsed()
        for ago, woken in (
            (500, []),
            (700, ["silence", "tool_call_waiting"]),
            (1300, ["silence", "tool_call_waiting"]),
        ):
            record.spoke_at = attached - ago
            for call in record.tool_calls:
                call.asked_at = attached - ago
            kinds = []
            for _ in range(3):
                page = await agent.call("wait_for_events", until=triggers, timeout_s=0.05, after=cursor)
                cursor = page["cursor"]
                kinds += [page["trigger"]["kind"]] if page["woken_by"] == "trigger" else []
            assert kinds == woken, ago


@pytest.mark.alone
async def test_speech_puts_a_silence_off(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Interim transcripts and audio are speech too: somebody is at it."""
    async with agent.waiting(until=[{"kind": "silence", "seconds": 1.1}], timeout_s=1.9) as pages:
        for index in range(6):
            await anyio.sleep(0.25)
            await evi.push(CHAT, frames.audio("m-1", index) if index % 2 else frames.user("a" * index, 9, interim=True))
    assert pages[0]["woken_by"] == "timeout"


async def test_a_tool_call_that_waits_too_long_wakes_also_if_it_came_while_sleeping(
    evi: FakeEvi, agent: Agent, live: str
) -> None:
    """A timer of its own for each call; one that is answered in time wakes nobody."""
    await agent.call("answer_tool_call", chat_id=CHAT, tool_call_id="call_1", content="ok", wait_for_effect_s=0)
    trigger = {"kind": "tool_call_waiting", "seconds": 0.3}
    page = await agent.call("wait_for_events", until=trigger, timeout_s=0.6)
    assert page["woken_by"] == "timeout"
    async with agent.waiting(until=trigger, timeout_s=10) as pages:
        await anyio.wait_all_tasks_blocked()
        await evi.push(CHAT, frames.tool_call("call_2"))
    assert (pages[0]["woken_by"], pages[0]["trigger"]) == ("trigger", trigger)


async def test_of_a_chat_that_is_not_connected_nobody_knows_how_silent_it_is(evi: FakeEvi, agent: Agent) -> None:
    """A silence is reckoned on live chats only."""
    evi.history[CHAT] = [frames.metadata()]
    await agent.call("attach_chat", chat_id=CHAT)
    evi.refuse[CHAT] = 503
    evi.cut(CHAT)
    await agent.until_state("reconnecting")
    page = await agent.call("wait_for_events", until={"kind": "silence", "seconds": 0.1}, timeout_s=0.4)
    assert page["woken_by"] == "timeout"


async def test_the_end_of_a_chat_wakes_whatever_the_triggers_are(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Nothing else could wake it any more."""
    async with agent.waiting(until=[{"kind": "turn_end"}], chat_ids=[CHAT]) as pages:
        await anyio.wait_all_tasks_blocked()
        await evi.close(CHAT)
    assert pages[0]["woken_by"] == "chat_ended" and "trigger" not in pages[0]


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        ({"kind": "fury"}, 'no kind of trigger "fury"; there are event, expression'),
        ({"kind": "expression", "score": "Angry", "at_least": 0.5}, 'no score "Angry"; the scores are Anger, '),
        ({"kind": "expression", "score": "Anger"}, '{"kind": "expression", "score": "Anger", "at_least": 0.5}.'),
        ({"kind": "expression", "score": "Anger", "at_least": 0.6, "at_most": 0.5}, "more than its at_most"),
        ({"kind": "event", "types": []}, 'such as {"kind": "event", "types": ["error", "user_interruption"]}.'),
        ({"kind": "event", "types": ["tool_cal"]}, 'type "tool_cal"; the types are tool_call, '),
        ({"kind": "event", "types": ["tool_call"], "speaker": "user"}, "could never be met"),
        (
            {"kind": "event", "types": ["user_message"], "speaker": "caller"},
            "speaker of a trigger is user or assistant",
        ),
        ({"kind": "event", "types": ["chat_ended"]}, "the end of a chat always wakes a wait"),
        ({"kind": "chat_ended"}, "the end of a chat always wakes a wait"),
        ({"kind": "tool_call"}, 'such as {"kind": "tool_call_waiting", "seconds": 3}.'),
        ({"kind": "user_message"}, 'such as {"kind": "event", "types": ["user_message"]}.'),
        ({"kind": "text", "contains": ""}, 'such as {"kind": "text", "contains": "refund"}.'),
        ({"kind": "silence", "seconds": 0}, 'needs seconds; until takes objects such as {"kind": "silence"'),
        ({"kind": "silence", "second": 3}, 'has no "second"'),
        ({"kind": "silence", "seconds": 7, "contains": "x"}, 'such as {"kind": "silence", "seconds": 7}.'),
        ({"kind": "silence", "seconds": 4000}, "is a number from 0.1 to 3600"),
        (
            {"expression": {"score": "Joy", "at_least": 0.7}},
            'beside its fields; until takes objects such as {"kind": "expression", "score": "Joy", "at_least": 0.7}.',
        ),
        ({"seconds": 5}, 'needs a kind; until takes objects such as {"kind": "silence", "seconds": 5}.'),
        ("anything", "until takes objects; until takes objects such as"),
        ({"kind": "turn_end", "chat_id": "nobody"}, "is not attached"),
    ],
)
async def test_a_trigger_that_could_never_be_met_is_refused(agent: Agent, live: str, trigger: Any, said: str) -> None:
    """A mistyped one would let an agent sleep through what it waits for."""
    assert said in await agent.error("wait_for_events", until=[trigger])


async def test_text_says_which_trigger_was_met_and_where(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Nine in ten clients show a model the text alone, or the structure alone."""
    await evi.push(CHAT, angry("No!", 100, 0.9))
    text = await agent.text("wait_for_events", after=live, until=[EXPRESSION])
    first, line, waiting = text.splitlines()
    assert first.startswith("woken by expression [") and "; cursor " in first
    assert '"No!"' in line and waiting.startswith("pending: call_1 parcel_status, ")


async def test_a_client_that_asks_for_progress_sees_that_a_long_wait_is_alive(
    evi: FakeEvi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients give up on calls that say nothing for long; others are spared the messages."""
    monkeypatch.setattr("evi_mcp.server.tools.listen.HEARTBEAT_S", 0.05)
    evi.history[CHAT] = [frames.metadata()]
    seen: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))

    async with supervising(evi) as server, agent_on(server, "legacy") as agent:
        await agent.call("attach_chat", chat_id=CHAT)
        await agent.client.call_tool("wait_for_events", {"timeout_s": 0.4}, progress_callback=on_progress)
    assert len(seen) >= 2 and [step for step, _, _ in seen] == sorted({step for step, _, _ in seen})
    assert seen[0][1:] == (0.4, "waiting on 1 chat")


async def test_more_than_a_page_is_read_before_anything_is_waited_for(evi: FakeEvi, agent: Agent, live: str) -> None:
    """An agent that has to catch up must not sleep between two pages of what is there already."""
    await evi.push(
        CHAT, *(frames.user(f"word {number}", 1000 * number) for number in range(8)), frames.tool_call("c-2")
    )
    await agent.call("wait_for_events", after=live, types=["tool_call"])
    until = [{"kind": "tool_call_waiting", "seconds": 3600}]
    page = await agent.call("wait_for_events", after=live, until=until, limit=5)
    assert (page["woken_by"], page["more"], len(page["events"])) == ("event", True, 5)
    page = await agent.call("wait_for_events", after=page["cursor"], until=until, limit=5, timeout_s=0)
    assert (page["woken_by"], page["more"], len(page["events"])) == ("timeout", False, 4)


async def test_a_page_says_which_chat_has_ended_and_which_call_waits(evi: FakeEvi, agent: Agent) -> None:
    """With several chats the reason alone says nothing."""
    evi.history[CHAT] = [frames.metadata(CHAT), frames.tool_call("call_1")]
    evi.history[OTHER] = [frames.metadata(OTHER)]
    for chat_id in (CHAT, OTHER):
        await agent.call("attach_chat", chat_id=chat_id)
    page = await agent.call("wait_for_events", until={"kind": "tool_call_waiting", "seconds": 0.1})
    assert page["triggered_by"] == {"chat_id": CHAT, "tool_call_id": "call_1"}
    async with agent.waiting(until=[{"kind": "turn_end"}]) as pages:
        await anyio.wait_all_tasks_blocked()
        await evi.close(OTHER)
    assert (pages[0]["woken_by"], pages[0]["triggered_by"]) == ("chat_ended", {"chat_id": OTHER})


async def test_a_type_that_some_chat_has_given_exists(evi: FakeEvi, agent: Agent, live: str) -> None:
    """The set of types is open: EVI and other services have new ones. Until one has come it is a typing error."""
    for ask in ({"types": ["mood"]}, {"until": {"kind": "event", "types": ["mood"]}}):
        assert 'no chat has given an event of type "mood"; the types are ' in await agent.error(
            "wait_for_events", **ask
        )
    assert '"mood"' in await agent.error("read_events", chat_id=CHAT, types=["mood"])
    async with agent.waiting(after=live) as pages:
        await evi.push(CHAT, frames.frame("mood", mood="good"))
    assert [event["type"] for event in pages[0]["events"]] == ["mood"]
    page = await agent.call("wait_for_events", after=live, types=["mood"])
    assert [event["type"] for event in page["events"]] == ["mood"]
    page = await agent.call("wait_for_events", after=live, until={"kind": "event", "types": ["mood"]})
    assert page["woken_by"] == "trigger"


async def test_all_who_sleep_for_the_same_silence_are_woken_by_it(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Agents share a connection, not their sleep; and two may call themselves the same."""
    trigger = {"kind": "silence", "seconds": 0.4}
    woken = []

    async def sleep() -> None:
        woken.append((await agent.call("wait_for_events", until=trigger, timeout_s=20))["woken_by"])

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(sleep)
            group.start_soon(sleep)
    assert woken == ["trigger", "trigger"]


async def test_a_chat_is_not_silent_while_evis_voice_is_still_heard(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Audio comes faster than it is spoken; when the user cuts in, what was not heard yet will not be."""
    await evi.push(CHAT, frames.audio("m-1", 0, frames.wav(bytes(48_000 * 2 * 60))))
    await agent.call("wait_for_events", types=["audio_output"], after=live)
    until = {"kind": "silence", "seconds": 0.3}
    assert (await agent.call("wait_for_events", until=until, timeout_s=0.8))["woken_by"] == "timeout"
    await evi.push(CHAT, frames.interruption())
    assert (await agent.call("wait_for_events", until=until))["woken_by"] == "trigger"
