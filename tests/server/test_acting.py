"""Commands: written once or not at all, with proof of effect, and refused with a sentence."""

import json
from typing import Any

import anyio
import pytest

from evi_mcp.registry import live_chat
from tests import frames
from tests.fake_evi import FakeEvi
from tests.supervision import CHAT, Agent, agent_on, supervising

pytestmark = pytest.mark.anyio


@pytest.fixture
async def live(evi: FakeEvi, agent: Agent) -> str:
    """An attached chat; the cursor after its history."""
    evi.history[CHAT] = [frames.metadata(), frames.user("Hello?", 100), frames.tool_call("call_1")]
    return str((await agent.call("attach_chat", chat_id=CHAT))["cursor"])


def answering(evi: FakeEvi, *made: str) -> None:
    """From now on the service answers any command with these frames."""

    async def answer(chat_id: str, _: dict[str, Any]) -> None:
        await evi.push(chat_id, *made)

    evi.on_command = answer


async def test_a_user_input_is_confirmed_by_the_message_that_comes_back(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Hume: `user_input` comes back as a `user_message` with `from_text`. Only that is proof."""
    answering(evi, frames.assistant("Unrelated.", "m-8"), frames.typed("Is anyone there?"))
    receipt = await agent.call("send_user_input", chat_id=CHAT, text="Is anyone there?")
    events = (await agent.call("read_events", chat_id=CHAT, after=receipt["cursor"]))["events"]
    assert [event["type"] for event in events] == ["command", "assistant_message", "user_message"]
    assert (receipt["status"], receipt["seq"], receipt["confirmed_by"]) == (
        "confirmed",
        events[0]["seq"],
        events[2]["seq"],
    )
    assert (events[0]["command"], events[0]["text"], events[0]["by"]) == ("user_input", "Is anyone there?", "mcp")
    assert evi.received[CHAT] == [{"type": "user_input", "text": "Is anyone there?"}]


async def test_an_assistant_input_is_confirmed_by_what_is_spoken(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Hume: it comes back as an `assistant_message` with `from_text`; perhaps in parts, which is not documented."""
    parts = ("One moment,", "a colleague is joining us.")
    answering(evi, *(frames.assistant(part, f"m-{part}", from_text=True) for part in parts))
    receipt = await agent.call("send_assistant_input", chat_id=CHAT, text=" ".join(parts))
    events = (await agent.call("read_events", chat_id=CHAT, after=receipt["cursor"]))["events"]
    assert (receipt["status"], receipt["confirmed_by"]) == ("confirmed", events[-1]["seq"])
    answering(evi, frames.assistant("Wait", "m-9", from_text=True))
    receipt = await agent.call("send_assistant_input", chat_id=CHAT, text="Wait a bit.", wait_for_effect_s=0.1)
    assert receipt["status"] == "sent", "a part of it is no proof of all"


async def test_without_an_effect_a_receipt_says_only_that_it_was_sent(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Our contract (section 5): `confirmed` is never a guess."""
    receipt = await agent.call("send_user_input", chat_id=CHAT, text="Hello?", wait_for_effect_s=0.1)
    assert (receipt["status"], "confirmed_by" in receipt) == ("sent", False)
    assert "no effect was seen yet" in await agent.text(
        "send_user_input", chat_id=CHAT, text="Hello?", wait_for_effect_s=0
    )


async def test_one_message_confirms_one_of_two_equal_commands(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Two agents may say the same; one effect is no proof of both."""
    receipts = []

    async def say() -> None:
        receipts.append(await agent.call("send_user_input", chat_id=CHAT, text="yes", wait_for_effect_s=1))

    async with anyio.create_task_group() as group:
        group.start_soon(say)
        group.start_soon(say)
        await evi.until(lambda: len(evi.received[CHAT]) == 2)
        await evi.push(CHAT, frames.typed("yes"))
    assert sorted(receipt["status"] for receipt in receipts) == ["confirmed", "sent"]


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
    assert (call["status"], call["answered_by"], call["parameters"]) == ("answered", "mcp", '{"number":"LY-4471"}')


@pytest.mark.parametrize("content", ["null", '{"ok": true}', "[1]", "7", "", "ok"])
async def test_whatever_an_answer_looks_like_it_arrives_as_the_same_text(
    evi: FakeEvi, agent: Agent, live: str, content: str
) -> None:
    """The SDK parses JSON in arguments that are not plainly strings; a tool's answer must not be touched."""
    await agent.call("answer_tool_call", chat_id=CHAT, tool_call_id="call_1", content=content, wait_for_effect_s=0)
    await evi.until(lambda: evi.received[CHAT])
    assert evi.received[CHAT][0]["content"] == content


async def test_an_error_for_the_record_and_words_for_the_assistant(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Hume: `error` is seen by neither LLM nor user, `content` is what the LLM gets."""
    await agent.call(
        "answer_tool_call",
        chat_id=CHAT,
        tool_call_id="call_1",
        content="Say that the lookup is down.",
        is_error=True,
        error="503",
        code="upstream",
        wait_for_effect_s=0,
    )
    await evi.until(lambda: evi.received[CHAT])
    assert evi.received[CHAT] == [
        {
            "type": "tool_error",
            "tool_call_id": "call_1",
            "error": "503",
            "content": "Say that the lookup is down.",
            "level": "warn",
            "tool_type": "function",
            "code": "upstream",
        }
    ]


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
            [refused] = [result.content[0].text for result in results if result.is_error]
            assert "the first answer counts" in refused and "was answered by" in refused
            assert len(evi.received[CHAT]) == 1
            for agent in (one, other):
                page = await agent.call("read_events", chat_id=CHAT, after=cursor)
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


async def test_a_command_is_refused_if_the_user_has_spoken_since(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Our contract (section 5): an agent must not talk over a conversation that has moved on."""
    await evi.push(CHAT, frames.user("No wait,", 5000, interim=True), frames.typed("typed does not count"))
    await agent.call("wait_for_events", after=live, types=["user_message"])
    await agent.call("send_user_input", chat_id=CHAT, text="ok", unless_user_spoke_after=live, wait_for_effect_s=0)
    await evi.push(CHAT, frames.user("No wait, I found it!", 5000))
    await evi.push(CHAT, frames.end())
    await agent.call("wait_for_events", after=live, types=["assistant_end"])
    for tool in ("send_user_input", "send_assistant_input"):
        text = await agent.error(tool, chat_id=CHAT, text="late", unless_user_spoke_after=live)
        assert '"No wait, I found it!"' in text and "nothing was sent" in text
    await evi.until(lambda: evi.received[CHAT])
    assert [command["text"] for command in evi.received[CHAT]] == ["ok"]


async def test_pause_and_resume_go_out_and_are_known_as_ours(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Hume: neither is acknowledged, and nobody can see whether another client paused the chat."""
    receipt = await agent.call("pause", chat_id=CHAT)
    assert receipt["status"] == "sent"
    assert (await agent.call("get_chat", chat_id=CHAT))["paused"] is True
    warned = await agent.call("answer_tool_call", chat_id=CHAT, tool_call_id="call_1", content="x", wait_for_effect_s=0)
    assert "paused" in warned["warning"]
    await agent.call("resume", chat_id=CHAT)
    assert (await agent.call("get_chat", chat_id=CHAT))["paused"] is False
    await evi.until(lambda: len(evi.received[CHAT]) == 3)
    assert [command["type"] for command in evi.received[CHAT]] == [
        "pause_assistant_message",
        "tool_response",
        "resume_assistant_message",
    ]


async def test_a_pause_ends_by_itself(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Our contract (section 5): an agent that pauses and vanishes must not leave a caller with a mute assistant."""
    await agent.call("pause", chat_id=CHAT, resume_after_s=0.2)
    page = await agent.call("wait_for_events", after="latest", types=["command"])
    assert (page["events"][0]["command"], page["events"][0]["by"]) == (
        "resume_assistant_message",
        "the timer of pause",
    )
    assert (await agent.call("get_chat", chat_id=CHAT))["paused"] is False


async def test_the_timer_of_a_pause_outlives_a_reconnect(evi: FakeEvi, agent: Agent, live: str) -> None:
    """The promise to resume holds also when the connection breaks in between."""
    await agent.call("pause", chat_id=CHAT, resume_after_s=0.3)
    evi.cut(CHAT)
    await evi.until(lambda: {"type": "resume_assistant_message"} in evi.received[CHAT])


async def test_a_resume_calls_the_timer_off(evi: FakeEvi, agent: Agent, live: str) -> None:
    """A second resume would be harmless, but it would be a command that nobody asked for."""
    await agent.call("pause", chat_id=CHAT, resume_after_s=0.2)
    await agent.call("resume", chat_id=CHAT)
    page = await agent.call("wait_for_events", after="latest", types=["command"], timeout_s=0.5)
    assert page["woken_by"] == "timeout"


async def test_detaching_a_paused_chat_resumes_it_first_if_that_was_promised(
    evi: FakeEvi, agent: Agent, live: str
) -> None:
    """The timer goes with the chat; leaving the caller with a mute assistant would be a harm."""
    await agent.call("pause", chat_id=CHAT)
    await agent.call("detach_chat", chat_id=CHAT)
    await evi.until(lambda: evi.closes[CHAT])
    assert [command["type"] for command in evi.received[CHAT]][-1] == "resume_assistant_message"
    assert evi.closes[CHAT] == [1000]


async def test_while_reconnecting_a_command_waits_and_then_says_that_nothing_was_sent(
    evi: FakeEvi, agent: Agent, live: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our contract (section 5): written once or not at all, and the agent knows which."""
    monkeypatch.setattr(live_chat, "WAIT_FOR_LIVE_S", 0.3)
    evi.refuse[CHAT] = 503
    evi.cut(CHAT)
    await agent.until_state("reconnecting")
    text = await agent.error("send_user_input", chat_id=CHAT, text="hello?")
    assert "nothing reached the chat" in text and "reconnecting" in text
    monkeypatch.setattr(live_chat, "WAIT_FOR_LIVE_S", 10)
    del evi.refuse[CHAT]
    await agent.call("send_user_input", chat_id=CHAT, text="hello again", wait_for_effect_s=0)
    await evi.until(lambda: evi.received[CHAT])
    assert [command["text"] for command in evi.received[CHAT]] == ["hello again"]


async def test_a_command_to_a_chat_that_is_over_is_refused_at_once(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Nothing can be heard there any more."""
    await evi.close(CHAT)
    await agent.until_state("ended")
    text = await agent.error("send_user_input", chat_id=CHAT, text="hello?")
    assert "the chat is ended" in text


async def test_an_agent_that_gives_up_while_waiting_for_an_effect_unsends_nothing(
    evi: FakeEvi, agent: Agent, live: str
) -> None:
    """Cancelling a call must not leave a half-written command, nor break the chat."""
    with anyio.move_on_after(0.3):
        await agent.call("send_user_input", chat_id=CHAT, text="hello?", wait_for_effect_s=20)
    await evi.until(lambda: evi.received[CHAT])
    page = await agent.call("read_events", chat_id=CHAT, types=["command"])
    assert [event["text"] for event in page["events"]] == ["hello?"]
    assert json.dumps(evi.received[CHAT]).count("hello?") == 1


async def test_an_answer_that_evi_refuses_is_not_confirmed_by_what_it_says_instead(
    evi: FakeEvi, agent: Agent, live: str
) -> None:
    """Hume: a late or malformed answer gets a `tool_error` from the service, and the fallback is spoken."""
    answering(evi, frames.tool_error("call_1", "the answer came too late"), frames.assistant("I cannot see it.", "m-9"))
    receipt = await agent.call("answer_tool_call", chat_id=CHAT, tool_call_id="call_1", content="Lyon")
    assert receipt["status"] == "sent"
    events = (await agent.call("read_events", chat_id=CHAT, after=receipt["cursor"]))["events"]
    assert receipt["warning"] == f"it had no effect: see event {events[1]['seq']}"


async def test_what_evi_says_to_the_users_next_words_proves_no_answer(evi: FakeEvi, agent: Agent, live: str) -> None:
    """`confirmed` is never a guess: a filler, or a reply to something newer, shows nothing of the tool's answer."""
    filler = frames.assistant("Hm.", "m-7", quick=True)
    answering(evi, filler, frames.user("Hello?", 9000), frames.assistant("Yes, I am here.", "m-8"))
    receipt = await agent.call(
        "answer_tool_call", chat_id=CHAT, tool_call_id="call_1", content="Lyon", wait_for_effect_s=0.3
    )
    assert receipt["status"] == "sent"


async def test_a_late_effect_is_no_proof_of_the_next_equal_command(evi: FakeEvi, agent: Agent, live: str) -> None:
    """Two agents may say the same after one another; the echo of the first belongs to the first."""
    await agent.call("send_user_input", chat_id=CHAT, text="hello", wait_for_effect_s=0)
    answering(evi, frames.typed("hello"))
    receipt = await agent.call("send_user_input", chat_id=CHAT, text="hello", wait_for_effect_s=0.3)
    assert receipt["status"] == "sent"


async def test_a_condition_is_read_before_the_chat_is_waited_for(
    evi: FakeEvi, agent: Agent, live: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in a cursor is told at once; and `latest` means the time of the call, not that of the write."""
    evi.refuse[CHAT] = 503
    evi.cut(CHAT)
    await agent.until_state("reconnecting")
    text = await agent.error("send_user_input", chat_id=CHAT, text="x", unless_user_spoke_after="zz")
    assert "is not a cursor" in text
    monkeypatch.setattr(live_chat, "WAIT_FOR_LIVE_S", 20)
    async with anyio.create_task_group() as group:

        async def send() -> None:
            text = await agent.error("send_user_input", chat_id=CHAT, text="x", unless_user_spoke_after="latest")
            assert "No, stop!" in text

        group.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        evi.history[CHAT].append(frames.user("No, stop!", 7000))
        del evi.refuse[CHAT]


async def test_the_next_call_that_a_result_names_keeps_its_scope(evi: FakeEvi, agent: Agent, live: str) -> None:
    """A cursor that comes with one chat would skip what happened in the others, if it were used for all."""
    for tool, arguments in (
        ("get_chat", {}),
        ("get_transcript", {}),
        ("pause", {}),
        ("resume", {}),
        ("read_events", {}),
    ):
        text = await agent.text(tool, chat_id=CHAT, **arguments)
        assert f'next: wait_for_events(chat_ids=["{CHAT}"], after="' in text, tool
    text = await agent.text("read_events", chat_id=CHAT, limit=1)
    assert f'more: read_events(chat_id="{CHAT}", after="' in text
    text = await agent.text("wait_for_events", chat_ids=[CHAT], types=["tool_call"], after="latest", timeout_s=0)
    assert f'next: wait_for_events(chat_ids=["{CHAT}"], types=["tool_call"], after="' in text
    assert "next: wait_for_events(after=" in await agent.text("wait_for_events", timeout_s=0)


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


@pytest.mark.parametrize("content", ["", "x" * 300_000])
async def test_our_own_answer_is_known_when_it_comes_back(evi: FakeEvi, agent: Agent, live: str, content: str) -> None:
    """Whether a service mirrors an answer to its sender is not documented; an empty or huge one is ours, too."""
    answering(evi, frames.tool_response("call_1", content))
    receipt = await agent.call("answer_tool_call", chat_id=CHAT, tool_call_id="call_1", content=content)
    assert receipt["status"] == "confirmed"
