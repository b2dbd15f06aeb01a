"""One chat: consumers, mirrors, refusals. No sockets."""

import json

import pytest
from pydantic import ValidationError

from evi_mcp.hub import chat as chat_module
from evi_mcp.hub import commands
from evi_mcp.hub.chat import TooManyConsumers
from evi_mcp.hub.commands import NotDelivered, NotSupported
from evi_mcp.hub.consumers import MAX_WAITING, Consumer
from evi_mcp.hub.json_frames import MAX_VALUES, Unreadable, read, write
from tests.hub.rig import AT_MS, Message, Rig, frames_of, line, texts_of


def test_a_late_consumer_gets_the_past_and_then_the_present() -> None:
    """Contract, section 8: history, then live; each consumer has its own `chat_metadata`, which comes first."""
    rig = Rig()
    bot = rig.bot(source={"name": "pipecat", "pipecat-ai": "1.14.0"}, supports=["user_input"])
    bot.say(line("before"))
    early, late = rig.chat().attach(), rig.chat().attach()
    bot.say(line("after"))
    for consumer in (early, late):
        metadata, *lines = frames_of(consumer)
        assert metadata["type"] == "chat_metadata" and metadata["chat_id"] == "chat-1"
        assert metadata["source"] == {"name": "pipecat", "pipecat-ai": "1.14.0"}
        assert metadata["supports"] == ["user_input"]
        assert [said["message"]["content"] for said in lines] == ["before", "after"]


def test_without_supports_all_commands_are_meant() -> None:
    """Contract, section 8: absent `supports` means all, and EVI's own clients need not know the field."""
    rig = Rig()
    bot = rig.bot()
    consumer = rig.chat().attach()
    assert "supports" not in frames_of(consumer)[0]
    rig.send(consumer, "assistant_input", text="Hello")
    assert [command["command"]["type"] for command in bot.listen()] == ["assistant_input"]


def test_a_command_that_the_chat_does_not_support_is_refused_to_its_sender_alone() -> None:
    """Contract, section 8: an `error` that names the command; the bot is not asked."""
    rig = Rig()
    bot = rig.bot(supports=["user_input", "pause_assistant_message"], source="livekit")
    sender, other = rig.chat().attach(), rig.chat().attach()
    rig.send(sender, "tool_response", tool_call_id="call_1", content="x")
    *_, error = frames_of(sender)
    assert (error["slug"], error["command"], error["tool_call_id"]) == (
        "command_not_supported",
        "tool_response",
        "call_1",
    )
    assert "livekit" in error["message"] and "pause_assistant_message, user_input" in error["message"]
    assert len(frames_of(other)) == 1 and not bot.listen()
    with pytest.raises(NotSupported):
        rig.chat().command({"type": "assistant_input", "text": "x"}, None, rig.now)


def test_being_refused_often_does_not_close_a_consumer() -> None:
    """Ten identical errors close a connection that sends garbage; asking for what a bot cannot do is none."""
    rig = Rig()
    rig.bot(supports=[])
    consumer = rig.chat().attach()
    for _ in range(30):
        rig.send(consumer, "user_input", text="Hello")
    assert len(frames_of(consumer)) == 31 and consumer.close is None


def test_a_command_that_is_not_evis_passes_if_the_chat_names_it() -> None:
    """What a source can do beyond EVI (end or transfer a call) needs no change of the hub."""
    rig = Rig()
    bot = rig.bot(supports=["user_input", "end_chat"])
    rig.chat().command({"type": "end_chat", "reason": "done"}, None, rig.now)
    assert [frame["command"] for frame in bot.listen()] == [{"type": "end_chat", "reason": "done"}]
    wrong: list[object] = [{"type": "transfer_chat"}, {"type": ["end_chat"]}, [], None]
    for other in wrong:
        with pytest.raises(ValidationError):
            rig.chat().command(other, None, rig.now)


def test_answers_and_settings_are_mirrored_once_the_bot_has_taken_them() -> None:
    """Every supervisor sees what the others did, in the history too; the sender does not get it back."""
    rig = Rig()
    bot = rig.bot()
    sender, other = rig.chat().attach(), rig.chat().attach()
    rig.send(sender, "tool_response", tool_call_id="call_1", content="in Lyon")
    rig.send(sender, "session_settings", system_prompt="Be brief.", language_model_api_key="sk-hidden-key")
    bot.listen()
    assert len(frames_of(other)) == 1, "not before it is done"
    for command in bot.commands:
        bot.write({"done": command["id"]})
    answer, settings = frames_of(other)
    assert (answer["type"], answer["content"]) == ("tool_response", "in Lyon")
    assert settings["system_prompt"] == "Be brief." and "sk-hidden" not in json.dumps(settings)
    assert len(frames_of(sender)) == 1
    assert [frame["type"] for frame in frames_of(rig.chat().attach())][1:] == ["tool_response", "session_settings"]
    assert bot.commands[1]["command"]["language_model_api_key"] == "sk-hidden-key", "the bot gets what it needs"


def test_a_refused_command_is_mirrored_to_nobody_and_its_sender_is_told_why() -> None:
    """A tool answer that came too late was no answer."""
    rig = Rig()
    bot = rig.bot()
    sender, other = rig.chat().attach(), rig.chat().attach()
    rig.send(sender, "tool_response", tool_call_id="call_1", content="late")
    bot.listen()
    bot.write({"refused": bot.commands[0]["id"], "reason": "the call has timed out"})
    *_, error = frames_of(sender)
    assert error["slug"] == "command_refused" and "the call has timed out" in error["message"]
    assert len(frames_of(other)) == 1


ANSWER = {"type": "tool_response", "tool_call_id": "call_0", "content": "in Lyon"}
FAILURE = {"type": "tool_error", "tool_call_id": "call_0", "error": "503", "content": "It is down."}
SETTINGS = {"type": "session_settings", "language_model_api_key": "sk-hidden-key", "context": {"text": "x"}}


@pytest.mark.parametrize("command", [ANSWER, FAILURE, SETTINGS], ids=["answer", "failure", "settings"])
@pytest.mark.parametrize("bot_first", [True, False])
def test_what_a_bot_shows_itself_is_not_shown_twice(command: Message, bot_first: bool) -> None:
    """Outside a replay every event is new to a supervisor: the same answer twice would be two answers."""
    rig = Rig()
    bot = rig.bot()
    sender, other = rig.chat().attach(), rig.chat().attach()
    frames_of(other)
    rig.chat().command(command, sender, rig.now)
    bot.listen()
    shown = {**command, "tool_type": "function", "custom_session_id": "7"} if "tool_call_id" in command else command
    for step in ("show", "done") if bot_first else ("done", "show"):
        if step == "show":
            bot.say(shown)
        else:
            bot.write({"done": bot.commands[0]["id"]})
    assert len(frames_of(other)) == 1
    bot.say(shown)
    assert len(frames_of(other)) == 1, "a second time it is news"


def test_an_id_that_is_used_again_is_another_call() -> None:
    """Providers reuse ids; an equal answer to another call is another answer."""
    rig = Rig()
    bot = rig.bot()
    sender, other = rig.chat().attach(), rig.chat().attach()
    rig.chat().command(ANSWER, sender, rig.now)
    bot.listen()
    bot.write({"done": bot.commands[0]["id"]})
    bot.say({"type": "tool_call", "tool_call_id": "call_0", "name": "look_up", "parameters": "{}"})
    bot.say(ANSWER)
    assert [frame["type"] for frame in frames_of(other)[1:]] == ["tool_response", "tool_call", "tool_response"]


def test_a_pause_is_noted_for_rest_and_its_sender_is_told_that_it_took_effect() -> None:
    """EVI has no inbound type for it; its REST history has `PAUSE_ONSET`. Sockets show what a bot says of it alone."""
    rig = Rig()
    bot = rig.bot()
    consumer = rig.chat().attach()
    rig.send(consumer, "pause_assistant_message")
    bot.listen()
    bot.write({"done": bot.commands[0]["id"]})
    assert [entry.type for entry in rig.chat().history] == ["pause_assistant_message", "command_result"]
    told = {"type": "command_result", "command": "pause_assistant_message", "status": "confirmed"}
    assert frames_of(consumer)[1:] == frames_of(rig.chat().attach())[1:] == [told]


def test_settings_that_a_bot_publishes_lose_their_secrets() -> None:
    """A bot may repeat the settings that it runs on, key and all."""
    rig = Rig()
    rig.bot().say({"type": "session_settings", "language_model_api_key": "sk-hidden-key"})
    assert "sk-hidden" not in "".join(entry.frame.decode() for entry in rig.chat().history)


def test_a_bot_may_add_to_the_metadata_but_not_change_the_ids() -> None:
    """Two chats must not be mixed up, whatever a bot says."""
    rig = Rig()
    bot = rig.bot()
    early = rig.chat().attach()
    bot.say({"type": "chat_metadata", "chat_id": "other", "source": "x", "room": "r-7"})
    for consumer in (early, rig.chat().attach()):
        metadata = frames_of(consumer)[-1]
        assert (metadata["chat_id"], metadata["source"], metadata["room"]) == ("chat-1", "custom", "r-7")


def test_a_consumer_that_does_not_read_is_closed_and_nobody_else() -> None:
    """Contract, section 8: never the bot slowed. The close says what to do."""
    rig = Rig()
    bot = rig.bot()
    slow, quick = rig.chat().attach(), rig.chat().attach()
    for number in range(MAX_WAITING + 10):
        bot.say(line(str(number)))
        if number % 100 == 0:
            frames_of(quick)
    assert slow.close is not None and slow.close.code == 1013 and "history" in slow.close.reason
    assert slow.take() == [], "and what waited for it is freed"
    assert quick.close is None and bot.goodbye is None


def test_a_consumer_of_a_full_history_is_not_closed_for_it() -> None:
    """What was there at first does not count against those who come late."""
    rig = Rig()
    bot = rig.bot()
    for number in range(MAX_WAITING):
        bot.say(line(str(number)))
    late = rig.chat().attach()
    for number in range(MAX_WAITING - 1):
        bot.say(line(str(number)))
    assert late.close is None and len(frames_of(late)) == 2 * MAX_WAITING


def test_consumers_get_everything_before_they_are_closed_at_the_end() -> None:
    """Contract, sections 8 and 9: closed with 1000 and the reason."""
    rig = Rig()
    bot = rig.bot()
    consumer = rig.chat().attach()
    bot.say(line("Goodbye"))
    bot.write({"type": "end", "reason": "the caller hung up"})
    assert consumer.close is None
    assert texts_of(consumer) == ["Goodbye"]
    assert consumer.close == (1000, "the caller hung up")
    with pytest.raises(NotDelivered):
        rig.chat().command({"type": "user_input", "text": "Anyone?"}, None, rig.now)


def test_after_the_end_nothing_is_added() -> None:
    """Who attached before and who reads the REST history see the same chat."""
    rig = Rig()
    rig.bot().write({"type": "end"})
    rig.chat().publish(line("late"), AT_MS)
    assert [entry.type for entry in rig.chat().history] == []


def test_a_chat_has_a_limit_of_consumers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every message goes to each of them."""
    monkeypatch.setattr(chat_module, "MAX_CONSUMERS", 2)
    rig = Rig()
    rig.bot()
    first, _ = rig.chat().attach(), rig.chat().attach()
    with pytest.raises(TooManyConsumers):
        rig.chat().attach()
    rig.chat().detach(first)
    rig.chat().attach()


def test_commands_do_not_pile_up_for_a_bot_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every buffer is bounded; the sender is told, and what was taken for done is forgotten after a minute."""
    monkeypatch.setattr(commands, "MAX_PENDING", 3)
    rig = Rig()
    bot = rig.bot()
    consumer = rig.chat().attach()
    for _ in range(5):
        rig.send(consumer, "pause_assistant_message")
    errors = [frame for frame in frames_of(consumer) if frame["type"] == "error"]
    assert [error["slug"] for error in errors] == ["command_not_delivered"] * 2
    assert len(bot.listen()) == 3
    rig.wait(61)
    rig.send(consumer, "pause_assistant_message")
    assert len(bot.listen()) == 1


@pytest.mark.parametrize(
    "message", [{}, {"type": ""}, {"type": 3}, {"type": "x" * 101}, {"type": "x", "value": object()}]
)
def test_what_is_no_message_is_not_published(message: dict[str, object]) -> None:
    """A source in this process may be as wrong as a bot."""
    rig = Rig()
    rig.bot()
    with pytest.raises(Unreadable):
        rig.chat().publish(message, AT_MS)
    assert len(rig.chat().history) == 0


def test_numbers_that_json_cannot_have_become_null() -> None:
    """Consumers are promised JSON."""
    rig = Rig()
    rig.bot().write('{"n": 1, "message": {"type": "x", "score": NaN, "text": "\\ud800"}}')
    (entry,) = rig.chat().history
    assert json.loads(entry.frame)["score"] is None and "\ufffd" in entry.frame.decode()


def test_a_large_frame_may_be_one_long_text_and_not_a_million_values() -> None:
    """The first is audio; the second would hold up every other chat for a second while it is read."""
    audio = json.dumps({"type": "audio_output", "data": "A" * 15 * 2**20})
    assert len(write(read(audio))) > 15 * 2**20
    with pytest.raises(Unreadable, match="values"):
        read(json.dumps({"type": "x", "values": ["y" * 200] * (MAX_VALUES + 1)}))
    assert read(json.dumps({"type": "x", "values": [0] * 50_000}))["type"] == "x"


def test_a_consumer_reads_in_pieces() -> None:
    """One replay must not hold up the loop: about a quarter of a megabyte, or 64 frames."""
    many = Consumer(b"{}", [b"{}"] * 200)
    assert [len(many.take()) for _ in range(4)] == [64, 64, 64, 9]
    large = Consumer(b"{}", [b"x" * 200_000] * 5)
    assert [len(large.take()) for _ in range(3)] == [3, 2, 1]
