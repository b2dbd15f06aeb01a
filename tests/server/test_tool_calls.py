"""Answering the chat's tool calls: the first answer wins, and its effect is proven or not."""

import json

import anyio
import pytest

from tests import frames
from tests.fake_evi import FakeEvi
from tests.harness import CHAT, Agent, agent_on, answering, supervising, text_of

pytestmark = pytest.mark.anyio


async def test_a_tool_answer_goes_out_as_text_and_is_confirmed_when_evi_goes_on(
    evi: FakeEvi, agent: Agent, live: str
) -> None:
    """Hume: `content` is text, `tool_name` equals the call's name; the sender gets no copy of its answer."""
    answering(evi, frames.assistant("It is in Lyon.", "m-9"))
    content = '{"place": "Lyon"}'
    receipt = await agent.call("answer_tool_call", chat_id=CHAT, tool_call_id="call_1", content=content)
    assert receipt["status"] == "confirmed"
    assert evi.received[CHAT] == [
        {
            "type": "tool_response",
            "tool_call_id": "call_1",
            "content": content,
            "tool_type": "function",
            "tool_name": "parcel_status",
        }
    ]
    [call] = (await agent.call("list_tool_calls", chat_id=CHAT, status="all"))["tool_calls"]
    assert (call["status"], call["answered_by"], call["parameters"]) == ("answered", "mcp", {"number": "LY-4471"})


async def test_what_evi_says_after_the_user_has_spoken_since_the_call_confirms_no_answer(
    evi: FakeEvi, agent: Agent, live: str
) -> None:
    """Hume: EVI drops a call when the user moves on. What it says may come of that: `confirmed` is never a guess."""
    await evi.push(CHAT, frames.user("Are you still there?", 2000))
    await agent.call("wait_for_events", after=live, chat_ids=[CHAT])
    answering(evi, frames.assistant("I am.", "m-9"))
    receipt = await agent.call(
        "answer_tool_call", chat_id=CHAT, tool_call_id="call_1", content="Lyon", wait_for_effect_s=0.3
    )
    assert receipt["status"] == "sent"
    said = await agent.call("wait_for_events", after=receipt["cursor"], types=["assistant_message"])
    assert said["events"][0]["text"] == "I am."


@pytest.mark.parametrize("content", ["null", '{"ok": true}', "[1]", "7", "ok"])
async def test_whatever_an_answer_looks_like_it_arrives_as_the_same_text(
    evi: FakeEvi, agent: Agent, live: str, content: str
) -> None:
    """The SDK parses JSON in arguments that are not plainly strings; a tool's answer must not be touched."""
    await agent.call("answer_tool_call", chat_id=CHAT, tool_call_id="call_1", content=content, wait_for_effect_s=0)
    await evi.until(lambda: evi.received[CHAT])
    assert evi.received[CHAT][0]["content"] == content


async def test_of_two_agents_the_first_answer_goes_out_and_each_sees_the_other(evi: FakeEvi) -> None:
    """Our contract (sections 3 to 5): one connection, one answer, and `command` events for all."""
    evi.history[CHAT] = [frames.metadata(), frames.tool_call("call_1")]
    with anyio.fail_after(20):
        async with supervising(evi) as server, agent_on(server) as one, agent_on(server, "legacy") as other:
            cursor = (await one.call("attach_chat", chat_id=CHAT))["cursor"]
            await other.call("attach_chat", chat_id=CHAT)
            results = []

            async def answer(agent: Agent, content: str) -> None:
                results.append(
                    await agent.client.call_tool(
                        "answer_tool_call",
                        {"chat_id": CHAT, "tool_call_id": "call_1", "content": content, "wait_for_effect_s": 0},
                    )
                )

            async with anyio.create_task_group() as group:
                group.start_soon(answer, one, "A")
                group.start_soon(answer, other, "B")
            await evi.until(lambda: evi.received[CHAT])
            assert sorted(result.is_error or False for result in results) == [False, True]
            [refused] = [text_of(result.content[0]) for result in results if result.is_error]
            assert "the first answer counts" in refused and "was answered by" in refused
            assert len(evi.received[CHAT]) == 1
            pages = [await agent.call("read_events", chat_id=CHAT, after=cursor) for agent in (one, other)]
            assert sorted([event["command"] for event in page["events"]] for page in pages) == [[], ["tool_response"]]
            assert sorted(page.get("omitted", {}).get("command", 0) for page in pages) == [0, 1], "its own is counted"
            for agent in (one, other):
                page = await agent.call("read_events", chat_id=CHAT, after=cursor, types=["command"])
                assert [event["command"] for event in page["events"]] == ["tool_response"]
            assert len(evi.handshakes) == 1


async def test_an_unknown_tool_call_is_refused_with_those_that_are_pending(
    evi: FakeEvi, agent: Agent, live: str
) -> None:
    """Our contract (section 5)."""
    text = await agent.error("answer_tool_call", chat_id=CHAT, tool_call_id="call_9", content="x")
    assert '"call_1"' in text and "nothing was sent" in text
    assert evi.received[CHAT] == []


async def test_an_answer_seen_from_somebody_else_closes_the_call(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Our contract (section 5): the caller's own app may have answered first."""
    await evi.push(CHAT, frames.tool_response("call_1", "from the app"))
    await agent.call("wait_for_events", after=live, types=["tool_response"])
    text = await agent.error("answer_tool_call", chat_id=CHAT, tool_call_id="call_1", content="x")
    assert "was answered by someone else" in text
    assert (await agent.call("list_tool_calls", chat_id=CHAT))["tool_calls"] == []


async def test_a_call_that_was_answered_before_we_attached_is_not_pending(evi: FakeEvi, agent: Agent) -> None:
    """The answers of others may be missing from a replay (not documented), but EVI went on after one."""
    evi.history[CHAT] = [frames.metadata(), frames.tool_call("call_1"), frames.assistant("It is in Lyon.", "m-1")]
    chat = await agent.call("attach_chat", chat_id=CHAT)
    assert chat["pending_tool_calls"] == []


async def test_a_built_in_tool_is_nobodys_to_answer(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Hume: built-in tools come with `response_required: false`; the server answers them itself."""
    call = frames.tool_call("call_web", "web_search", response_required=False, tool_type="builtin")
    await evi.push(CHAT, call)
    await agent.call("wait_for_events", after=live, types=["tool_call"])
    assert "built-in" in await agent.error("answer_tool_call", chat_id=CHAT, tool_call_id="call_web", content="x")


async def test_an_answer_that_evi_refuses_is_not_confirmed_by_what_it_says_instead(
    evi: FakeEvi, agent: Agent, live: str
) -> None:
    """Hume: a late or malformed answer gets a `tool_error` from the service, and the fallback is spoken."""
    answering(evi, frames.tool_error("call_1", "the answer came too late"), frames.assistant("I cannot see it.", "m-9"))
    receipt = await agent.call("answer_tool_call", chat_id=CHAT, tool_call_id="call_1", content="Lyon")
    assert receipt["status"] == "sent"
    events = (await agent.call("read_events", chat_id=CHAT, after=receipt["cursor"]))["events"]
    assert receipt["warning"] == f"it had no effect: see event {events[0]['seq']}"


async def test_what_evi_says_to_the_users_next_words_proves_no_answer(evi: FakeEvi, agent: Agent, live: str) -> None:
    """`confirmed` is never a guess: a filler, or a reply to something newer, shows nothing of the tool's answer."""
    filler = frames.assistant("Hm.", "m-7", quick=True)
    answering(evi, filler, frames.user("Hello?", 9000), frames.assistant("Yes, I am here.", "m-8"))
    receipt = await agent.call(
        "answer_tool_call", chat_id=CHAT, tool_call_id="call_1", content="Lyon", wait_for_effect_s=0.3
    )
    assert receipt["status"] == "sent"


async def test_a_second_tool_call_proves_the_answer_to_the_first(evi: FakeEvi, agent: Agent, live: str) -> None:
    """EVI went on with it; and the words that follow prove the second answer, not the first."""
    answering(evi, frames.tool_call("call_2"))
    first = await agent.call("answer_tool_call", chat_id=CHAT, tool_call_id="call_1", content="free at 8")
    answering(evi, frames.assistant("It is booked.", "m-9"))
    second = await agent.call("answer_tool_call", chat_id=CHAT, tool_call_id="call_2", content="booked")
    assert [first["status"], second["status"]] == ["confirmed", "confirmed"]


async def test_an_answer_of_somebody_else_is_no_proof_of_ours(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Two clients may answer at the same time; which one EVI took is seen in what it mirrors."""
    answering(evi, frames.tool_response("call_1", "SOMEBODY ELSE'S"))
    receipt = await agent.call("answer_tool_call", chat_id=CHAT, tool_call_id="call_1", content="ours")
    assert (receipt["status"], "it had no effect" in receipt["warning"]) == ("sent", True)


async def test_the_reply_to_a_user_input_proves_no_tool_answer(evi: FakeEvi, agent: Agent, live: str) -> None:
    """What an older command claims still tells a younger one that the conversation has moved on."""
    await agent.call("send_user_input", chat_id=CHAT, text="forget it", wait_for_effect_s=0)
    answering(evi, frames.typed("forget it"), frames.assistant("Fine, forgotten.", "m-9"))
    receipt = await agent.call(
        "answer_tool_call", chat_id=CHAT, tool_call_id="call_1", content="x", wait_for_effect_s=0.3
    )
    assert receipt["status"] == "sent"


@pytest.mark.parametrize("content", ["x" * 300_000])
async def test_our_own_answer_is_known_when_it_comes_back(evi: FakeEvi, agent: Agent, live: str, content: str) -> None:
    """Whether a service mirrors an answer to its sender is not documented; a huge one is ours, too."""
    answering(evi, frames.tool_response("call_1", content))
    receipt = await agent.call("answer_tool_call", chat_id=CHAT, tool_call_id="call_1", content=content)
    assert receipt["status"] == "confirmed"


async def test_an_unanswered_call_falls_back_to_an_error_that_evi_can_speak_about(evi: FakeEvi) -> None:
    """Our contract (section 2): no caller is left waiting; a call that came with the history counts too."""
    evi.history[CHAT] = [frames.metadata(), frames.tool_call("call_1")]
    async with supervising(evi, tool_call_fallback=0.1) as server, agent_on(server) as agent:
        await agent.call("attach_chat", chat_id=CHAT)
        await evi.push(CHAT, frames.tool_call("call_2"), frames.tool_call("call_3", response_required=False))
        await evi.until(lambda: len(evi.received[CHAT]) == 2)
        assert sorted(command["tool_call_id"] for command in evi.received[CHAT]) == ["call_1", "call_2"]
        assert {command["type"] for command in evi.received[CHAT]} == {"tool_error"}
        assert all(command["content"] and command["error"] for command in evi.received[CHAT])
        [first, second] = (await agent.call("list_tool_calls", status="failed"))["tool_calls"]
        assert first["answered_by"] == second["answered_by"] == "tool call fallback"
        assert first["answered_by_kind"] == "server"
        text = await agent.error("answer_tool_call", chat_id=CHAT, tool_call_id="call_1", content="late")
        assert "by this server (tool call fallback)" in text


async def test_the_fallback_leaves_an_answered_call_alone_and_waits_for_a_lost_chat(evi: FakeEvi) -> None:
    """The first answer wins, and one that cannot be sent now is sent when the chat is back, if it still has to be."""
    evi.history[CHAT] = [frames.metadata()]
    async with supervising(evi, tool_call_fallback=1) as server, agent_on(server) as agent:
        await agent.call("attach_chat", chat_id=CHAT)
        await evi.push(CHAT, frames.tool_call("call_1"), frames.tool_call("call_2"))
        await agent.call("wait_for_events", until={"kind": "tool_call_waiting", "seconds": 0.1})
        await agent.call("answer_tool_call", chat_id=CHAT, tool_call_id="call_1", content="ok", wait_for_effect_s=0)
        evi.refuse[CHAT] = 503
        evi.cut(CHAT)
        await agent.until_state("reconnecting")
        await anyio.sleep(1)
        assert len(evi.received[CHAT]) == 1
        del evi.refuse[CHAT]
        await evi.until(lambda: len(evi.received[CHAT]) == 2)
        assert [(command["type"], command["tool_call_id"]) for command in evi.received[CHAT]] == [
            ("tool_response", "call_1"),
            ("tool_error", "call_2"),
        ]


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ('{"number": "LY-4471"}', {"number": "LY-4471"}),
        ("[1, 2.5, null]", [1, 2.5, None]),
        ("", ""),
        ("{number: LY-4471", "{number: LY-4471"),
        ('{"share": NaN}', '{"share": NaN}'),
        ("[" * 3000, "[" * 3000),
        ("[" * 300 + "]" * 300, "[" * 300 + "]" * 300),
        ('{"half": "\\ud83d"}', '{"half": "\\ud83d"}'),
        ('{"much": 1e999}', '{"much": 1e999}'),
        (
            '{"a": "' + "x" * 9000 + '"}',
            '{"a": "' + "x" * 3993 + "[5009 characters left out; the tool_call event has them]",
        ),
    ],
    ids=lambda value: repr(value)[:20],
)
async def test_arguments_are_parsed_if_they_are_json_and_text_if_not(
    evi: FakeEvi, agent: Agent, live: str, sent: str, shown: object
) -> None:
    """An LLM wrote them: they may be malformed, and are then the caller's to make sense of (Hume's tool guide)."""
    await evi.push(CHAT, frames.tool_call("call_9", parameters=sent))
    await agent.call("wait_for_events", after=live, types=["tool_call"])
    calls = (await agent.call("list_tool_calls", chat_id=CHAT))["tool_calls"]
    assert calls[-1]["parameters"] == shown
    [event] = (await agent.call("read_events", chat_id=CHAT, after=live, max_chars=50_000))["events"]
    assert event["parameters"][:1000] == sent[:1000], "an event has the text that EVI sent"
    text = await agent.text("list_tool_calls", chat_id=CHAT)
    assert "call_9" in text


async def test_no_fallback_goes_into_a_talk_that_has_moved_on(evi: FakeEvi) -> None:
    """The primary may have answered, which nobody need see (its answer is not mirrored): EVI spoke on, and finished."""
    evi.history[CHAT] = [frames.metadata()]
    async with supervising(evi, tool_call_fallback=0.5) as server, agent_on(server) as agent:
        live = (await agent.call("attach_chat", chat_id=CHAT))["cursor"]
        await evi.push(CHAT, frames.tool_call("call_1"), frames.assistant("It is in Lyon.", "m-1"), frames.end())
        await agent.call("wait_for_events", after=live, types=["assistant_end"])
        assert (await agent.call("list_tool_calls"))["tool_calls"] == []
        [call] = (await agent.call("list_tool_calls", status="all"))["tool_calls"]
        assert call["status"] == "superseded", "who knows better may still answer"
        await evi.push(CHAT, frames.tool_call("call_2"))
        await evi.until(lambda: evi.received[CHAT])
        assert [command["tool_call_id"] for command in evi.received[CHAT]] == ["call_2"]


async def test_what_waits_is_listed_whatever_else_there_is(evi: FakeEvi, agent: Agent) -> None:
    """A list of many calls shows those that wait, then the newest, and fits a context window."""
    many = [frame for n in range(150) for frame in (frames.tool_call(f"c-{n}"), frames.tool_response(f"c-{n}"))]
    large = [frames.tool_call(f"p-{n}", parameters='{"a": "' + "x" * 3000 + '"}') for n in range(30)]
    evi.history[CHAT] = [frames.metadata(), *many, *large]
    await agent.call("attach_chat", chat_id=CHAT)
    listed = await agent.call("list_tool_calls", status="all")
    ids = [call["tool_call_id"] for call in listed["tool_calls"]]
    assert (len(ids), listed["not_shown"]) == (100, 80)
    assert ids == [*(f"c-{n}" for n in range(80, 150)), *(f"p-{n}" for n in range(30))]
    for tool, arguments in (("list_tool_calls", {}), ("get_chat", {"chat_id": CHAT}), ("list_chats", {})):
        assert len(json.dumps(await agent.call(tool, **arguments))) < 40_000


async def test_a_tool_call_whose_id_is_too_long_to_keep_is_shown_and_never_answered_with_half_of_it(
    evi: FakeEvi, agent: Agent
) -> None:
    """EVI would not know the call that is answered, and the agent would believe that it is."""
    evi.history[CHAT] = [frames.metadata(), frames.tool_call("i" * 300)]
    await agent.call("attach_chat", chat_id=CHAT)
    [call] = (await agent.call("list_tool_calls", chat_id=CHAT))["tool_calls"]
    said = await agent.error("answer_tool_call", chat_id=CHAT, tool_call_id=call["tool_call_id"], content="yes")
    assert "longer than 256 characters" in said and evi.received[CHAT] == []
