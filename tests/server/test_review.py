"""The call on one page: what was said and how, what was asked for and done, by whom, and how it ended."""

import re
from typing import Any

import anyio
import pytest

from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT, Agent, agent_on, answering, supervising, text_of

pytestmark = pytest.mark.anyio

LINE = "This is Kim, the shift lead."


async def test_a_review_tells_all_that_happened(evi: FakeEvi) -> None:
    """One call instead of five: each fact with its time, who did it, and what became of it."""
    evi.history[CHAT] = [frames.metadata(), frames.user("Where is it?", 5000, scores={"Anger": 0.3})]
    with anyio.fail_after(20):
        async with supervising(evi) as server, agent_on(server) as agent:
            cursor = (await agent.call("attach_chat", chat_id=CHAT))["cursor"]
            await evi.push(CHAT, frames.tool_call("call_1"))
            await agent.call("wait_for_events", after=cursor, types=["tool_call"])
            answering(evi, frames.assistant("It is in Lyon.", "m-1"), frames.prosody("m-1", Calmness=0.6))
            await agent.call("answer_tool_call", chat_id=CHAT, tool_call_id="call_1", content='{"place": "Lyon"}')
            answering(evi, frames.interruption(), frames.assistant(LINE, "m-2", from_text=True))
            await agent.call("send_assistant_input", chat_id=CHAT, text=LINE)
            evi.on_command = None
            await agent.call("pause", chat_id=CHAT)
            await evi.push(CHAT, frames.user("At last!", 9000, scores={"Anger": 0.9}))
            await evi.close(CHAT, 1000, "hung up")
            await agent.until_state("ended")
            review = await agent.call("review_chat", chat_id=CHAT)
            text = await agent.text("review_chat", chat_id=CHAT)
    assert (review["utterances"], review["tool_calls"], review["interruptions"]) == (4, 1, 1)
    assert review["peaks"]["user"]["Anger"]["value"] == 0.9
    events = {event["seq"]: event for event in review["events"]}
    [asked] = [event["call"] for event in events.values() if event["type"] == "tool_call"]
    assert (asked["status"], asked["answered_by"], asked["answer"]) == ("answered", "mcp", '{"place": "Lyon"}')
    assert asked["at"] <= asked["answered_at"] and asked["waiting_s"] >= 0
    commands = [(event["command"], event["by"], event["status"]) for event in events.values() if "command" in event]
    assert commands[:3] == [
        ("tool_response", "mcp", "confirmed"),
        ("assistant_input", "mcp", "confirmed"),
        ("pause_assistant_message", "mcp", "sent"),
    ]
    shown_by = next(event["shown_by"] for event in events.values() if event.get("command") == "assistant_input")
    assert (events[shown_by]["text"], events[shown_by]["given_by"]) == (LINE, "mcp")
    for said in (
        'chat chat-1: ended (EVI closed the chat: "hung up")',
        "4 utterances, 1 tool call, ",
        "strongest in the user's voice: Anger .9 in ",
        '* +0:05] user "Where is it?" Anger .3',
        'tool_call parcel_status call_1 {"number":"LY-4471"}: answered, ',
        'by "mcp" with {"place":"Lyon"}',
        'assistant "It is in Lyon." Calmness .6',
        "user_interruption",
        f'command assistant_input "{LINE}" by "mcp": confirmed by event {shown_by}',
        f'assistant (supervisor "mcp") "{LINE}"',
        'command pause_assistant_message by "mcp": sent',
    ):
        assert said in text, said


async def test_the_expression_is_that_of_each_utterance(evi: FakeEvi, agent: Agent) -> None:
    """The mean over a turn hid its peak."""
    evi.history[CHAT] = [
        frames.metadata(),
        *(frames.user(f"word {n}", n * 1000, scores={"Anger": anger}) for n, anger in enumerate((0.1, 0.9, 0.2))),
    ]
    await agent.call("attach_chat", chat_id=CHAT)
    [turn] = (await agent.call("get_transcript", chat_id=CHAT))["turns"]
    assert turn["expression"] == {"Anger": 0.4}
    review = await agent.call("review_chat", chat_id=CHAT)
    said = [event for event in review["events"] if "text" in event]
    assert [event["expression"] for event in said] == [{"Anger": 0.1}, {"Anger": 0.9}, {"Anger": 0.2}]
    assert review["peaks"] == {"user": {"Anger": {"value": 0.9, "seq": said[1]["seq"]}}}


@pytest.mark.parametrize("most", [500, 2000, 50_000])
async def test_a_long_call_keeps_its_size_and_says_what_is_left_out(evi: FakeEvi, agent: Agent, most: int) -> None:
    """Our contract (section 4): what does not fit is counted; the end of the call is what is shown."""
    evi.history[CHAT] = [
        frames.metadata(),
        *(frames.user("word " * 30 + str(n), n * 1000) for n in range(400)),
        frames.user("x" * 5000, 500_000),
    ]
    await agent.call("attach_chat", chat_id=CHAT)
    answer = await agent.client.call_tool("review_chat", {"chat_id": CHAT, "max_chars": most})
    text, review = text_of(answer.content[0]), answer.structured_content or {}
    assert len(text) <= most
    assert review["left_out"] + len(review["events"]) >= 402, "401 utterances, and changes of state"
    assert f"{review['left_out']} older events left out" in text
    if most > 2000:
        [longest] = [event for event in review["events"] if event.get("text", "").startswith("x")]
        assert longest["text"] == "x" * 1000 and longest["left_out"] == 4000


async def test_a_log_that_was_full_is_said(evi: FakeEvi) -> None:
    """What is not kept must not be taken for what did not happen."""
    evi.history[CHAT] = [frames.metadata(), *(frames.user(f"word {n}", n * 1000) for n in range(40))]
    async with supervising(evi, log_events=10) as server, agent_on(server) as agent:
        await agent.call("attach_chat", chat_id=CHAT)
        assert (await agent.call("review_chat", chat_id=CHAT))["not_kept"] is True
        assert "what came before is not kept here" in await agent.text("review_chat", chat_id=CHAT)


@pytest.mark.parametrize(
    ("said", "marked"),
    [
        (frames.assistant(LINE, "m-9", from_text=True), "supervisor, unknown"),
        (frames.typed(LINE), "typed, or a supervisor"),
        (None, 'supervisor "mcp"'),
    ],
)
async def test_a_supervisors_line_is_marked_in_every_view(
    evi: FakeEvi, agent: Agent, live: str, said: str | None, marked: str
) -> None:
    """By whomever it was given: it would be taken for EVI's or the caller's own words."""
    if said is None:
        answering(evi, frames.assistant(LINE, "m-9", from_text=True))
        await agent.call("send_assistant_input", chat_id=CHAT, text=LINE)
    else:
        await evi.push(CHAT, said)
        await agent.call("wait_for_events", after=live)
    for tool in ("read_events", "get_transcript", "get_chat", "review_chat"):
        assert f'({marked}) "{LINE}"' in await agent.text(tool, chat_id=CHAT), tool
    resource: Any = (await agent.client.read_resource(f"evi://chats/{CHAT}/transcript")).contents[0]
    assert re.search(rf"\({marked.replace(chr(34), '.{0,2}')}\)", resource.text), resource.text


async def test_a_list_of_tool_calls_shows_times_and_answers(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Also the answer of somebody else, which is nobody's command here."""
    await evi.push(CHAT, frames.tool_call("call_2"))
    await agent.call("wait_for_events", after=live, types=["tool_call"])
    await agent.call("answer_tool_call", chat_id=CHAT, tool_call_id="call_2", content="in Lyon", wait_for_effect_s=0)
    await evi.push(CHAT, frames.tool_response("call_1", "from the app"))
    await agent.call("wait_for_events", after=live, types=["tool_response"])
    first, second = (await agent.call("list_tool_calls", chat_id=CHAT, status="all"))["tool_calls"]
    assert (first["answer"], second["answer"]) == ("from the app", "in Lyon")
    assert "arrived_at" in first and "at" not in first, "when a call of the history was asked is not known"
    assert second["at"] <= second["answered_at"]
    text = await agent.text("list_tool_calls", chat_id=CHAT, status="all")
    assert re.search(r'call_2 .* answered, [\d.]+ s, asked \d\d:\d\d:\d\d, answered .* by "mcp" with "in Lyon"', text)


async def test_history_says_when_it_was_said_where_evi_tells_and_when_it_arrived(evi: FakeEvi, agent: Agent) -> None:
    """Replayed events that share one time of arrival were taken for a call that took no time."""
    evi.history[CHAT] = [
        frames.metadata(),
        frames.user("Hello?", 17_000),
        frames.assistant("Hi.", "m-1"),
        frames.interruption(1_762_430_123),
        frames.user("Stop.", 3_723_000),
    ]
    await agent.call("attach_chat", chat_id=CHAT)
    await evi.push(CHAT, frames.user("Now.", 3_800_000))
    await agent.call("wait_for_events", after="earliest", until=[{"kind": "text", "contains": "Now."}])
    page = await agent.call("read_events", chat_id=CHAT)
    first, second, cut, third, _, now = page["events"]
    assert all("arrived_at" in event for event in (first, second, cut, third)) and "arrived_at" not in now
    assert "at" not in first and (first["begin_ms"], third["begin_ms"]) == (17_000, 3_723_000)
    assert cut["at"] == "2025-11-06T11:55:23.000Z", "EVI's own time"
    text = await agent.text("read_events", chat_id=CHAT)
    assert re.search(r"; \* history, came \d\d:\d\d:\d\d; cursor", text.splitlines()[0])
    assert re.search(r'\[\d+\* \+0:17\] user "Hello\?"', text) and re.search(r"\[\d+\* \+1:02:03\] user", text)
    assert re.search(r'\[\d+\*\] assistant "Hi\."', text)
    turns = (await agent.call("get_transcript", chat_id=CHAT))["turns"]
    assert ["at" in turn for turn in turns] == [False, False, False]
    assert '[* +0:17] user "Hello?"' in await agent.text("get_transcript", chat_id=CHAT)
