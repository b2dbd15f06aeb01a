"""Commands on their way to a bot whose link may break, without sockets."""

import pytest

from evi_mcp.hub.commands import NotDelivered
from tests.hub.rig import CHAT, Rig, frames_of, line


def test_a_command_is_delivered_at_most_once_by_its_id() -> None:
    """Sent again after a resume under the same id, and not any more once its outcome is known."""
    rig = Rig()
    bot = rig.bot()
    consumer = rig.chat().attach()
    rig.send(consumer, "tool_response", tool_call_id="call_1", content="x")
    rig.send(consumer, "resume_assistant_message")
    bot.listen()
    first, second = bot.commands
    bot.write({"done": first["id"]})
    bot.cut()
    bot.resume()
    assert bot.commands == [first, second, second]
    bot.write({"done": second["id"]})
    bot.write({"done": second["id"]})
    bot.write({"done": "unknown"})
    bot.cut()
    bot.resume()
    assert len(bot.commands) == 3 and first["id"] != second["id"]


def test_a_command_at_which_the_link_breaks_each_time_is_given_up() -> None:
    """Else one command would keep the bot away for good; its sender learns that it may have taken effect."""
    rig = Rig()
    bot = rig.bot()
    consumer = rig.chat().attach()
    rig.send(consumer, "tool_response", tool_call_id="call_1", content="x")
    for _ in range(5):
        bot.listen()
        bot.cut()
        bot.resume()
    assert len(bot.commands) == 3
    assert [frame["slug"] for frame in frames_of(consumer)[1:]] == ["command_outcome_unknown"]


def test_a_command_that_no_bot_can_read_in_time_is_refused() -> None:
    """A mebibyte holds a bot up for some milliseconds, while it is to speak."""
    rig = Rig()
    bot = rig.bot()
    consumer = rig.chat().attach()
    rig.send(consumer, "tool_response", tool_call_id="call_1", content="x" * 2**20)
    assert [frame["slug"] for frame in frames_of(consumer)[1:]] == ["command_not_delivered"]
    assert not bot.listen()


def test_a_command_for_a_bot_that_is_away_waits_for_it() -> None:
    """A `resume_assistant_message` must come through, or the bot stays mute."""
    rig = Rig()
    bot = rig.bot()
    bot.cut()
    rig.chat().command({"type": "resume_assistant_message"}, None, rig.now)
    rig.wait(50)
    bot.resume()
    assert [command["command"]["type"] for command in bot.commands] == ["resume_assistant_message"]


def test_a_bot_that_was_given_up_while_paused_may_speak_again_when_it_is_back() -> None:
    """Who paused it was told that the chat is over, and will not resume it: the caller would stay with a mute bot."""
    rig = Rig()
    bot = rig.bot()
    consumer = rig.chat().attach()
    rig.send(consumer, "pause_assistant_message")
    bot.listen()
    bot.write({"done": bot.commands[0]["id"]})
    bot.cut()
    rig.wait(61)
    assert rig.chat().status == "ERROR"
    bot.resume()
    assert [command["command"]["type"] for command in bot.commands[1:]] == ["resume_assistant_message"]


def test_commands_of_a_chat_that_is_over_are_forgotten() -> None:
    """One may hold a key, and nobody is left to carry it out."""
    rig = Rig()
    bot = rig.bot()
    rig.chat().command({"type": "session_settings", "language_model_api_key": "sk-hidden-key"}, None, rig.now)
    bot.write({"type": "end"})
    assert len(rig.chat().pending) == 0


def test_a_line_is_spoken_within_five_seconds_or_not_at_all() -> None:
    """Later it would be spoken over somebody. The sender knows whether it may have been heard."""
    rig = Rig()
    bot = rig.bot()
    consumer = rig.chat().attach()
    rig.send(consumer, "assistant_input", text="handed over")
    bot.listen()
    bot.cut()
    rig.send(consumer, "assistant_input", text="not handed over")
    rig.wait(4)
    assert len(frames_of(consumer)) == 1
    rig.wait(1)
    unknown, not_delivered = frames_of(consumer)
    assert (unknown["slug"], not_delivered["slug"]) == ("command_outcome_unknown", "command_not_delivered")
    bot.resume()
    assert len(bot.commands) == 1


def test_a_line_over_rest_for_a_bot_that_is_away_is_refused_at_once() -> None:
    """There is nobody to tell later."""
    rig = Rig()
    rig.bot().cut()
    with pytest.raises(NotDelivered, match="cannot be reached"):
        rig.chat().command({"type": "user_input", "text": "Hello"}, None, rig.now)


def test_a_line_in_a_connection_that_takes_nothing_is_given_up() -> None:
    """A connection that stalls is not gone yet; the line must not come out when it moves again."""
    rig = Rig()
    bot = rig.bot()
    consumer = rig.chat().attach()
    frames_of(consumer)
    rig.send(consumer, "user_input", text="Hello")
    rig.wait(6)
    assert [frame["slug"] for frame in frames_of(consumer)] == ["command_not_delivered"]
    assert bot.listen() == []


def test_commands_come_behind_the_welcome_and_before_the_goodbye() -> None:
    """A bot that is told to go still gets nothing that it could not answer."""
    rig = Rig()
    bot = rig.bot()
    bot.cut()
    rig.chat().command({"type": "resume_assistant_message"}, None, rig.now)
    bot.dial(resume={"chat_id": CHAT, "token": bot.welcome["token"], "sent": 0})
    bot.write({"n": 1, "message": line("x")})
    rig.chat().command({"type": "pause_assistant_message"}, None, rig.now)
    rig.links.shut_down()
    said = bot.listen()
    assert [next(iter(frame)) for frame in said] == ["ack", "type"]
    assert bot.goodbye is not None and "shutting down" in bot.goodbye
    assert rig.chat().status == "ACTIVE", "the bot comes back to the next hub"


def test_an_acknowledgement_can_wait_and_a_command_cannot() -> None:
    """Thus a flood of messages is not answered by a flood of acknowledgements."""
    rig = Rig()
    bot = rig.bot()
    bot.say(line("one"))
    assert bot.connection is not None and bot.connection.can_wait
    rig.chat().command({"type": "pause_assistant_message"}, None, rig.now)
    assert not bot.connection.can_wait


@pytest.mark.parametrize("command", ["pause_assistant_message", "resume_assistant_message"])
def test_a_pause_that_a_bot_has_carried_out_is_said_to_everybody(command: str) -> None:
    """No message of EVI's shows it, and whoever sent it would else wait for a sign that never comes."""
    rig = Rig()
    bot = rig.bot()
    sender, other = rig.chat().attach(), rig.chat().attach()
    rig.send(sender, command)
    bot.listen()
    assert frames_of(sender)[1:] == [], "it is only on its way"
    bot.write({"done": bot.commands[0]["id"]})
    said = {"type": "command_result", "command": command, "status": "confirmed"}
    assert frames_of(sender) == [said] and frames_of(other)[1:] == [said]
    rig.send(sender, command)
    bot.listen()
    bot.write({"refused": bot.commands[1]["id"], "reason": "not now"})
    assert frames_of(other) == [] and [frame["type"] for frame in frames_of(sender)] == ["error"]
