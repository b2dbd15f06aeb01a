"""The agents: each makes one mistake that agents were seen to make."""

import json
import re
from typing import Any

from tests import frames
from tests.agents.agent import Script, ScriptedAgent
from tests.fake_evi import FakeEvi

A = "3f0a9c1e-52d1-4c4b-9a57-6d0c2f1e8b01"
B = "7be2d410-0c7f-4d0e-8f3e-1a2b3c4d5e02"
CALL = "call_Kx7Q2mVb9LwP4tRn"
ANSWER = '{"status": "in Lyon"}'
ANGRY = {"Anger": 0.62, "Disappointment": 0.4}

CURSOR = re.compile(r"\b[0-9a-f]{8}-\d+(?:@[0-9a-f]{8})?(?![\w@-])")


def histories() -> dict[str, list[str | bytes]]:
    """Two calls: in one EVI waits for a tool, the other one goes on."""
    return {
        A: [
            frames.metadata(A),
            frames.user("Where is my parcel?", 1000, scores=ANGRY),
            frames.tool_call(CALL),
        ],
        B: [frames.metadata(B, "r-2"), frames.user("A table for four, please.", 1000)],
    }


def cursor_in(text: str) -> str:
    """The last cursor that a text names."""
    found: list[str] = CURSOR.findall(text)
    return found[-1]


def form_in(text: str) -> Any:
    """The first JSON object that a text shows."""
    return json.JSONDecoder().raw_decode(text[text.index("{") :])[0]


def listed_after(text: str, words: str) -> list[str]:
    """The names of a list that a text gives."""
    return re.split(r", | and ", text.split(words, 1)[1].split(".")[0].strip())


async def attached_to_an_angry_caller(agent: ScriptedAgent, evi: FakeEvi) -> None:
    """What was said before the attach meets no trigger, so the caller speaks after it."""
    await agent.prepare("attach_chat", chat_id=A)
    await evi.push(A, frames.user("Hello? Are you still there?", 9000, scores=ANGRY))


def answers(evi: FakeEvi) -> list[dict[str, Any]]:
    """What the service was told of its tool calls."""
    return [command for command in evi.received[A] if command["type"] in ("tool_response", "tool_error")]


async def waits_with_the_cursor_of_one_chat_for_all(agent: ScriptedAgent, evi: FakeEvi) -> None:
    """The tool call of the other chat was never shown."""
    await agent.prepare("attach_chat", chat_id=B)
    attached = await agent.prepare("attach_chat", chat_id=A)
    cursor = cursor_in(attached)
    await evi.push(B, frames.tool_call("call_OfTheOtherChat77", "book_table"))
    said = await agent.mistake("wait_for_events", after=cursor, timeout_s=5)
    assert "call_OfTheOtherChat77" in said
    await agent.recover(
        "answer_tool_call", chat_id=B, tool_call_id="call_OfTheOtherChat77", content="done", wait_for_effect_s=0
    )
    await evi.until(lambda: evi.received[B])


async def waits_past_a_tool_call_that_came_before(agent: ScriptedAgent, evi: FakeEvi) -> None:
    """Who starts at `latest` never heard of the call that waits."""
    await agent.prepare("attach_chat", chat_id=A)
    said = await agent.mistake(
        "wait_for_events", chat_ids=[A], after="latest", until=[{"kind": "turn_end"}], timeout_s=0
    )
    await agent.recover(
        "answer_tool_call",
        chat_id=A,
        tool_call_id=re.findall(r"call_\w{8,}", said)[0],
        content=ANSWER,
        wait_for_effect_s=0,
    )
    await evi.until(lambda: answers(evi))


async def waits_for_an_event_type_that_does_not_exist(agent: ScriptedAgent, evi: FakeEvi) -> None:
    """Such a wait slept for ever."""
    await agent.prepare("attach_chat", chat_id=A)
    await evi.push(A, frames.tool_call("call_TheSecondOne9876"))
    said = await agent.mistake(
        "wait_for_events", chat_ids=[A], after="earliest", until=[{"kind": "event", "types": ["function_call"]}]
    )
    kind = listed_after(said, "the types are")[0]
    page = await agent.recover(
        "wait_for_events", chat_ids=[A], after="earliest", until=[{"kind": "event", "types": [kind]}]
    )
    assert page.startswith("woken by event [5") and "call_TheSecondOne9876" in page


async def waits_for_a_score_that_does_not_exist(agent: ScriptedAgent, evi: FakeEvi) -> None:
    """EVI says Anger, and a model says something like it."""
    await attached_to_an_angry_caller(agent, evi)
    trigger = {"kind": "expression", "score": "Angry", "at_least": 0.5}
    said = await agent.mistake("wait_for_events", chat_ids=[A], after="earliest", until=[trigger])
    score = listed_after(said, "the scores are")[0]
    page = await agent.recover("wait_for_events", chat_ids=[A], after="earliest", until=[{**trigger, "score": score}])
    assert page.startswith("woken by expression [5")


async def waits_for_the_end_of_a_chat(agent: ScriptedAgent, evi: FakeEvi) -> None:
    """The end always wakes, so there is no trigger for it."""
    await agent.prepare("attach_chat", chat_id=A)
    said = await agent.mistake("wait_for_events", chat_ids=[A], until=[{"kind": "event", "types": ["chat_ended"]}])
    assert "always wakes" in said
    await evi.close(A)
    page = await agent.recover("wait_for_events", chat_ids=[A], after="earliest", until=[{"kind": "turn_end"}])
    assert "chat_ended" in page.splitlines()[0]


async def answers_a_tool_call_with_nothing(agent: ScriptedAgent, evi: FakeEvi) -> None:
    """EVI had nothing to say, and said so to the caller."""
    await agent.prepare("attach_chat", chat_id=A)
    given: dict[str, Any] = {"chat_id": A, "tool_call_id": CALL, "wait_for_effect_s": 0}
    said = await agent.mistake("answer_tool_call", **given, content="")
    assert not answers(evi), "nothing was sent"
    assert "is_error" in said
    await agent.recover("answer_tool_call", **given, content="The parcel was not found.", is_error=True)
    await evi.until(lambda: answers(evi))
    assert [answer["type"] for answer in answers(evi)] == ["tool_error"]


async def guards_with_latest(agent: ScriptedAgent, evi: FakeEvi) -> None:
    """Nobody has spoken after now, so such a guard holds nothing back."""
    attached = await agent.prepare("attach_chat", chat_id=A)
    given: dict[str, Any] = {"chat_id": A, "text": "Please hold the line.", "wait_for_effect_s": 0}
    said = await agent.mistake("send_assistant_input", **given, unless_user_spoke_after="latest")
    assert not evi.received[A] and "cursor" in said
    await agent.recover("send_assistant_input", **given, unless_user_spoke_after=cursor_in(attached))
    await evi.until(lambda: evi.received[A])


async def empties_what_it_does_not_mean(agent: ScriptedAgent, evi: FakeEvi) -> None:
    """A client that fills in every field took a live call's tools away."""
    await agent.prepare("attach_chat", chat_id=A)
    await agent.forgiven(
        "update_session_settings",
        chat_id=A,
        system_prompt="Be brief.",
        tools=[],
        builtin_tools=[],
        variables={},
        metadata={},
    )
    await evi.until(lambda: evi.received[A])
    assert evi.received[A] == [{"type": "session_settings", "system_prompt": "Be brief."}]


async def answers_with_an_object(agent: ScriptedAgent, evi: FakeEvi) -> None:
    """A model gives the object, and not its text."""
    await agent.prepare("attach_chat", chat_id=A)
    content = {"status": "in Lyon", "days": 2}
    await agent.forgiven("answer_tool_call", chat_id=A, tool_call_id=CALL, content=content, wait_for_effect_s=0)
    await evi.until(lambda: answers(evi))
    assert json.loads(answers(evi)[0]["content"]) == content


async def names_a_chat_by_the_beginning_of_its_id(agent: ScriptedAgent, evi: FakeEvi) -> None:
    """Ids are printed short."""
    await agent.prepare("attach_chat", chat_id=A)
    await agent.forgiven("send_user_input", chat_id=A[:8], text="Hello?", wait_for_effect_s=0)
    await evi.until(lambda: evi.received[A])


async def names_a_tool_call_by_a_wrong_id(agent: ScriptedAgent, evi: FakeEvi) -> None:
    """An id that was copied wrongly: the one that waits is named."""
    await agent.prepare("attach_chat", chat_id=A)
    given: dict[str, Any] = {"chat_id": A, "content": ANSWER, "wait_for_effect_s": 0}
    said = await agent.mistake("answer_tool_call", **given, tool_call_id="call_Kx7Q2mVb9LwP4tRm")
    [right] = [found for found in re.findall(r"call_\w{8,}", said) if found != "call_Kx7Q2mVb9LwP4tRm"]
    await agent.recover("answer_tool_call", **given, tool_call_id=right)
    await evi.until(lambda: answers(evi))


async def answers_what_was_answered(agent: ScriptedAgent, evi: FakeEvi) -> None:
    """The first answer wins; the second one is told so, and goes on."""
    await agent.prepare("attach_chat", chat_id=A)
    given: dict[str, Any] = {"chat_id": A, "tool_call_id": CALL, "content": ANSWER, "wait_for_effect_s": 0}
    await agent.prepare("answer_tool_call", **given)
    said = await agent.mistake("answer_tool_call", **given)
    assert "nothing was sent" in said
    await agent.recover("list_tool_calls", chat_id=A)
    assert len(answers(evi)) == 1


async def writes_until_as_words(agent: ScriptedAgent, evi: FakeEvi) -> None:
    """Through many clients a model is shown "array of strings"."""
    await agent.prepare("attach_chat", chat_id=A)
    said = await agent.mistake("wait_for_events", chat_ids=[A], after="earliest", until=["tool_call"])
    page = await agent.recover("wait_for_events", chat_ids=[A], after="earliest", until=[form_in(said)], timeout_s=10)
    assert CALL in page


async def nests_a_trigger_in_its_kind(agent: ScriptedAgent, evi: FakeEvi) -> None:
    """What a model makes of a union that it was not shown."""
    await attached_to_an_angry_caller(agent, evi)
    until = [{"expression": {"score": "Anger", "at_least": 0.5}}]
    said = await agent.mistake("wait_for_events", chat_ids=[A], after="earliest", until=until)
    page = await agent.recover("wait_for_events", chat_ids=[A], after="earliest", until=[form_in(said)])
    assert page.startswith("woken by expression [5")


async def fills_in_every_field_of_a_trigger(agent: ScriptedAgent, evi: FakeEvi) -> None:
    """Strict function calling makes a model give all of them."""
    await attached_to_an_angry_caller(agent, evi)
    trigger = {
        "kind": "expression", "score": "Anger", "at_least": 0.5, "types": [], "contains": "", "seconds": 0,
        "speaker": "user", "turns": 1,
    }  # fmt: skip
    page = await agent.forgiven("wait_for_events", chat_ids=[A], after="earliest", until=[trigger])
    assert page.startswith("woken by expression [5")


async def speaks_in_a_chat_that_is_not_attached(agent: ScriptedAgent, evi: FakeEvi) -> None:
    """Frameworks start a process for each call, where nothing is attached yet."""
    await agent.forgiven("send_user_input", chat_id=A, text="Hello?", wait_for_effect_s=0)
    await evi.until(lambda: evi.received[A])


async def names_a_chat_that_is_not_there(agent: ScriptedAgent, evi: FakeEvi) -> None:
    """A letter is wrong: nothing was sent to anybody, and the next call shows which chats there are."""
    wrong = A[:-1] + "9"
    evi.refuse[wrong] = 404
    evi.chats = {A: {"id": A, "status": "ACTIVE"}}
    said = await agent.mistake("send_user_input", chat_id=wrong, text="Hello?", wait_for_effect_s=0)
    [scope] = re.findall(r"list_chats\b.*?scope='(\w+)'", said)
    assert A in await agent.recover("list_chats", scope=scope)
    assert not evi.received


async def takes_the_number_of_an_event_for_a_cursor(agent: ScriptedAgent, evi: FakeEvi) -> None:
    """Numbers stand at the beginning of every line."""
    await agent.prepare("attach_chat", chat_id=A)
    said = await agent.mistake("read_events", chat_id=A, after="2")
    assert "earliest" in said
    page = await agent.recover("read_events", chat_id=A, after="earliest")
    assert CALL in page


async def takes_a_chat_for_a_cursor(agent: ScriptedAgent, evi: FakeEvi) -> None:
    """The arguments were given in the wrong order."""
    await agent.prepare("attach_chat", chat_id=A)
    said = await agent.mistake("wait_for_events", after=A, timeout_s=0)
    assert "earliest" in said
    page = await agent.recover("wait_for_events", chat_ids=[A], after="earliest", timeout_s=0)
    assert CALL in page


SCRIPTS: dict[str, Script] = {
    script.__name__: script
    for script in (
        waits_with_the_cursor_of_one_chat_for_all,
        waits_past_a_tool_call_that_came_before,
        waits_for_an_event_type_that_does_not_exist,
        waits_for_a_score_that_does_not_exist,
        waits_for_the_end_of_a_chat,
        answers_a_tool_call_with_nothing,
        guards_with_latest,
        empties_what_it_does_not_mean,
        answers_with_an_object,
        names_a_chat_by_the_beginning_of_its_id,
        names_a_tool_call_by_a_wrong_id,
        answers_what_was_answered,
        writes_until_as_words,
        nests_a_trigger_in_its_kind,
        fills_in_every_field_of_a_trigger,
        speaks_in_a_chat_that_is_not_attached,
        names_a_chat_that_is_not_there,
        takes_the_number_of_an_event_for_a_cursor,
        takes_a_chat_for_a_cursor,
    )
}
