"""Real bots, supervised from outside: what the hub is told, what the caller hears, what the LLM gets."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.link.bots.call import Call, call_with
from tests.link.fake_hub import FakeChat, fake_hub

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("kind", ["pipecat", "livekit"])]

LONG = "tell me a very long story about everything that has happened to all the parcels of this town since last winter"


async def told(call: Call, chat: FakeChat, type_: str, text: str) -> None:
    """Waits until a final message with this text is in the log."""
    await call.hub.until(lambda: any(text in said for said in chat.texts(type_)))


async def ask(call: Call, text: str, answer: str) -> None:
    await call.say(text)
    await call.hears(answer)


async def test_a_call_is_told_as_it_goes(kind: str, bots_python: Path) -> None:
    """Transcripts of both sides, the bot's own tool, and the ends of its turns, in order and in EVI's words."""
    async with fake_hub() as hub, call_with(kind, bots_python, hub) as call:
        chat = await call.chat()
        assert chat.hellos[0]["source"].startswith(f"{kind} ")
        await ask(call, "hello there", "You said: hello there.")
        await hub.until(lambda: chat.of("assistant_end"))
        await ask(call, "where is my parcel", "It is in Lyon.")
        await hub.until(lambda: len(chat.of("assistant_end")) == 2)
        final = [message for message in chat.log if not message.get("interim")]
        assert [message["type"] for message in final] == [
            *("user_message", "assistant_message", "assistant_end"),
            *("user_message", "tool_call", "tool_response", "assistant_message", "assistant_end"),
        ]
        call_, answer = final[4], final[5]
        assert (call_["name"], json.loads(call_["parameters"])) == ("parcel_status", {"number": "LY-1"})
        assert call_["response_required"] is False
        assert answer["tool_call_id"] == call_["tool_call_id"] and json.loads(answer["content"]) == {"place": "Lyon"}
        assert chat.texts() == ["hello there", "where is my parcel"]
        times = [message["time"] for message in final if message["type"] == "user_message"]
        assert 0 < times[0]["begin"] <= times[0]["end"] < times[1]["begin"] <= times[1]["end"]


async def test_what_is_still_being_said_is_told_as_interim(kind: str, bots_python: Path) -> None:
    """A supervisor sees the caller talk, and the final words once."""
    async with fake_hub() as hub, call_with(kind, bots_python, hub) as call:
        chat = await call.chat()
        await call.say("one two three..." if kind == "pipecat" else "one two three four")
        await hub.until(lambda: [message for message in chat.of("user_message") if message["interim"]])
        if kind == "pipecat":
            await call.say("one two three four")
        await told(call, chat, "user_message", "one two three four")
        assert chat.texts() == ["one two three four"]


async def test_a_supervisor_answers_a_tool_call_and_the_bot_uses_the_answer(kind: str, bots_python: Path) -> None:
    """The bot's LLM waits for what somebody outside decides; the next line has it."""
    async with fake_hub() as hub, call_with(kind, bots_python, hub) as call:
        chat = await call.chat()
        await call.say("I want a refund")
        (asked,) = await hub.until(lambda: chat.of("tool_call"))
        assert (asked["name"], asked["response_required"]) == ("refund", True)
        id_ = asked["tool_call_id"]
        assert await hub.command(chat, "tool_response", tool_call_id=id_, content="granted") is None
        await call.hears("I hear: granted")
        assert "answered already" in (await hub.command(chat, "tool_response", tool_call_id=id_, content="no") or "")
        await told(call, chat, "assistant_message", "I hear: granted")
        assert [message["content"] for message in chat.of("tool_response")] == ["granted"]
        await call.say("and another refund")
        await hub.until(lambda: len(chat.of("tool_call")) == 2)
        id_ = chat.of("tool_call")[1]["tool_call_id"]
        assert await hub.command(chat, "tool_error", tool_call_id=id_, error="down", content="not today") is None
        await call.hears("I hear: not today")


async def test_nobody_answers_and_the_bot_goes_on_with_its_fallback(kind: str, bots_python: Path) -> None:
    """The caller must not hear silence because a supervisor is away."""
    async with fake_hub() as hub, call_with(kind, bots_python, hub, tool_timeout=0.3) as call:
        chat = await call.chat()
        await ask(call, "I want a refund", "I hear: Say that a colleague will call back.")
        (error,) = await hub.until(lambda: chat.of("tool_error"))
        assert error["code"] == "no_answer"


async def test_a_caller_who_does_not_wait_for_a_supervisor_is_answered(kind: str, bots_python: Path) -> None:
    """The call that the conversation left behind is closed, and a late answer is refused."""
    async with fake_hub() as hub, call_with(kind, bots_python, hub) as call:
        chat = await call.chat()
        await call.say("I want a refund")
        (asked,) = await hub.until(lambda: chat.of("tool_call"))
        await ask(call, "never mind", "You said: never mind.")
        (error,) = await hub.until(lambda: chat.of("tool_error"))
        assert (error["tool_call_id"], error["code"]) == (asked["tool_call_id"], "cancelled")
        late = await hub.command(chat, "tool_response", tool_call_id=asked["tool_call_id"], content="granted")
        assert late == "the tool call is closed: the bot waits no longer"


async def test_a_tool_call_may_go_on_beside_the_talk(kind: str, bots_python: Path) -> None:
    """A supervisor may need a minute, and the caller need not be silent for it."""
    async with fake_hub() as hub, call_with(kind, bots_python, hub, outlast=True) as call:
        chat = await call.chat()
        await call.say("I want a refund")
        (asked,) = await hub.until(lambda: chat.of("tool_call"))
        await ask(call, "take your time", "You said: take your time.")
        id_ = asked["tool_call_id"]
        assert await hub.command(chat, "tool_response", tool_call_id=id_, content="granted") is None
        await call.hears("granted")
        assert chat.of("tool_error") == []


async def test_words_of_a_supervisor_are_spoken_exactly_and_are_in_the_context(kind: str, bots_python: Path) -> None:
    """What comes back is one message with the words as they were sent, so a receipt can be confirmed."""
    words = "One moment, please. A colleague joins us; stay on the line!"
    async with fake_hub() as hub, call_with(kind, bots_python, hub) as call:
        chat = await call.chat()
        assert await hub.command(chat, "assistant_input", text=words) is None
        await call.hears(words)
        await hub.until(lambda: chat.of("assistant_end"))
        (message,) = chat.of("assistant_message")
        assert (message["message"]["content"], message["from_text"]) == (words, True)
        assert await hub.command(chat, "user_input", text="who joins") is None
        await call.hears("You said: who joins.")
        (typed,) = chat.of("user_message")
        assert (typed["message"]["content"], typed["from_text"]) == ("who joins", True)


async def test_a_whisper_reaches_the_llm_and_nobody_else(kind: str, bots_python: Path) -> None:
    """EVI's context: temporary for the next user message only, persistent until it is replaced or cleared."""
    async with fake_hub() as hub, call_with(kind, bots_python, hub) as call:
        chat = await call.chat()
        await ask(call, "zero", "You said: zero.")
        context = {"text": "be brief", "type": "temporary"}
        assert await hub.command(chat, "session_settings", context=context) is None
        await ask(call, "one", "You said: one. I was told: Context: be brief.")
        await ask(call, "two", "You said: two.")
        await told(call, chat, "assistant_message", "You said: two.")
        context = {"text": "he is angry", "type": "persistent"}
        assert await hub.command(chat, "session_settings", context=context) is None
        await ask(call, "three", "You said: three. I was told: Context: he is angry.")
        await ask(call, "four", "You said: four. I was told: Context: he is angry.")
        assert await hub.command(chat, "session_settings", context=None) is None
        await ask(call, "five", "You said: five.")
        await ask(call, "six", "You said: six.")
        said = " ".join(chat.texts("assistant_message"))
        assert said.count("be brief") == 1 and said.count("he is angry") == 2
        assert [shown["context"] for shown in chat.of("session_settings")][2] is None


async def test_settings_change_the_bot_in_the_call(kind: str, bots_python: Path) -> None:
    """Prompt, variables and tools; what it cannot do is refused as a whole, with the reason."""
    tool = {"type": "function", "name": "lookup_order", "parameters": '{"type": "object", "properties": {}}'}
    async with fake_hub() as hub, call_with(kind, bots_python, hub) as call:
        chat = await call.chat()
        prompt: dict[str, Any] = {"system_prompt": "You help {{customer}}.", "variables": {"customer": "Ines"}}
        assert await hub.command(chat, "session_settings", **prompt, tools=[tool]) is None
        await ask(call, "one", "You said: one. My orders: You help Ines.")
        assert await hub.command(chat, "session_settings", variables={"customer": "Ada"}) is None
        await ask(call, "two", "You said: two. My orders: You help Ada.")
        await call.say("please lookup my order" if kind == "livekit" else "lookup my order")
        (asked,) = await hub.until(lambda: chat.of("tool_call"))
        assert (asked["name"], asked["response_required"]) == ("lookup_order", True)
        id_ = asked["tool_call_id"]
        assert await hub.command(chat, "tool_response", tool_call_id=id_, content="found it") is None
        await call.hears("I hear: found it")
        own = {**tool, "name": "parcel_status"}
        assert "own tool" in (await hub.command(chat, "session_settings", tools=[own], system_prompt="No.") or "")
        refusal = await hub.command(chat, "session_settings", system_prompt="No.", builtin_tools=[{"name": "hang_up"}])
        assert "cannot change builtin_tools; nothing was changed" in (refusal or "")
        await ask(call, "three", "You said: three. My orders: You help Ada.")


async def test_a_paused_bot_listens_and_answers_when_it_is_resumed(kind: str, bots_python: Path) -> None:
    """EVI's pause: what is said meanwhile is transcribed and kept, nothing is said, no tool is used."""
    async with fake_hub() as hub, call_with(kind, bots_python, hub) as call:
        chat = await call.chat()
        await ask(call, "hello", "You said: hello.")
        await hub.until(lambda: chat.of("assistant_end"))
        assert await hub.command(chat, "pause_assistant_message") is None
        assert await hub.command(chat, "pause_assistant_message") is None
        await call.say("are you there")
        await told(call, chat, "user_message", "are you there")
        await asyncio.sleep(1.0)  # the caller waits before going on: time to answer, if it were not paused
        await call.say("so where is my parcel")
        await told(call, chat, "user_message", "so where is my parcel")
        assert await hub.command(chat, "assistant_input", text="Still here.") is None
        await call.hears("Still here.")
        await asyncio.sleep(1.0)
        assert call.heard.strip() == "" and chat.of("tool_call") == []
        assert await hub.command(chat, "resume_assistant_message") is None
        await call.hears("It is in Lyon.")
        assert "are you there" not in " ".join(chat.texts("assistant_message"))
        assert await hub.command(chat, "resume_assistant_message") is None
        await ask(call, "thank you", "You said: thank you.")


async def test_a_pause_while_the_llm_thinks_of_a_tool_keeps_the_tool_from_being_used(
    kind: str, bots_python: Path
) -> None:
    """A refund that is asked for after the supervisor said stop would be too late to stop."""
    async with fake_hub() as hub, call_with(kind, bots_python, hub, think=1.5) as call:
        chat = await call.chat()
        await call.say("where is my parcel")
        await call.bot.shows("thinking")
        assert await hub.command(chat, "pause_assistant_message") is None
        await asyncio.sleep(2.0)  # longer than it thinks
        assert chat.of("tool_call") == [] and call.heard.strip() == ""
        assert await hub.command(chat, "resume_assistant_message") is None
        await call.hears("It is in Lyon.")
        assert len(chat.of("tool_call")) == 1


async def test_an_interruption_is_told_and_nothing_after_it_is_heard(kind: str, bots_python: Path) -> None:
    """A supervisor must know that the caller has not heard the end."""
    async with fake_hub() as hub, call_with(kind, bots_python, hub) as call:
        chat = await call.chat()
        await call.say(LONG)
        await call.hears("You said: tell me")
        await call.say("stop")
        await hub.until(lambda: chat.of("user_interruption"))
        await call.hears("You said: stop.")
        types = [message["type"] for message in chat.log if not message.get("interim")]
        cut = types.index("user_interruption")
        assert "assistant_message" in types[:cut] and "assistant_end" not in types[:cut]
        assert "since last winter" not in call.caller.output.split("You said: stop.")[0].split("You said:")[1]


async def test_the_end_of_a_call_is_the_end_of_the_chat(kind: str, bots_python: Path) -> None:
    """A supervisor ends it with last words; what was said last is told before the end."""
    async with fake_hub() as hub, call_with(kind, bots_python, hub) as call:
        chat = await call.chat()
        await ask(call, "hello", "You said: hello.")
        assert await hub.command(chat, "end_chat", text="Goodbye then.", reason="closing time") is None
        await call.hears("Goodbye then.")
        await hub.until(lambda: chat.ended)
        assert chat.ended == "closing time" and chat.texts("assistant_message")[-1] == "Goodbye then."
        assert await call.bot.ends() == 0


async def test_the_call_goes_on_while_the_hub_is_gone_and_is_told_when_it_is_back(kind: str, bots_python: Path) -> None:
    """Killed in mid-call and restarted without memory: late supervisors see the whole call, each thing once."""
    async with fake_hub() as hub, call_with(kind, bots_python, hub) as call:
        first = await call.chat()
        await ask(call, "one", "You said: one.")
        await told(call, first, "assistant_message", "You said: one.")
        await hub.kill()
        hub.forget()
        await ask(call, "two", "You said: two.")
        await ask(call, "where is my parcel", "It is in Lyon.")
        await hub.start()
        chat = await call.chat()
        assert chat is not first
        await told(call, chat, "assistant_message", "It is in Lyon.")
        assert chat.texts() == ["one", "two", "where is my parcel"]
        assert chat.texts("assistant_message") == ["You said: one.", "You said: two.", "It is in Lyon."]
        assert await hub.command(chat, "assistant_input", text="We are back.") is None
        await call.hears("We are back.")


async def test_without_a_hub_a_call_is_a_call(kind: str, bots_python: Path) -> None:
    """Supervision may fail; the caller must not notice."""
    async with fake_hub() as hub:
        await hub.kill()
        async with call_with(kind, bots_python, hub) as call:
            await ask(call, "hello", "You said: hello.")
            await ask(call, "where is my parcel", "It is in Lyon.")
            await call.hang_up()
