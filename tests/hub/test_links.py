"""The hub's side of the link (contract, section 9), without sockets."""

from typing import Any

import pytest

from evi_mcp.hub import links
from evi_mcp.hub.chat import NotBackYet
from evi_mcp.hub.chats import Limits
from evi_mcp.hub.link_connections import MAX_FAULTS
from evi_mcp.hub.links import RETURN_MS
from tests.hub.rig import AT_MS, CHAT, Rig, RigBot, frames_of, line, texts_of


def test_a_bot_is_welcomed_with_its_id_and_a_token() -> None:
    """An id that it brings is kept; else the hub makes one."""
    rig = Rig()
    assert rig.bot("call-7").welcome == {
        "type": "welcome",
        "chat_id": "call-7",
        "token": "token-1",
        "received": 0,
    }
    made = rig.bot(None, chat_group_id="group-7", metadata={"desk": "returns"})
    chat = rig.chat(made.welcome["chat_id"])
    assert chat.facts.chat_group_id == "group-7" and chat.facts.metadata == {"desk": "returns"}


@pytest.mark.parametrize(
    ("hello", "said"),
    [
        ({"type": "welcome"}, "first frame"),
        ({"protocol": 2}, "protocol"),
        ({"protocol": None}, "protocol"),
        ({"chat_id": "a/b"}, "chat_id"),
        ({"chat_id": 7}, "chat_id"),
        ({"chat_group_id": ""}, "chat_group_id"),
        ({"source": 3}, "source"),
        ({"source": {}}, "source"),
        ({"source": "x" * 5_000}, "source"),
        ({"supports": "user_input"}, "supports"),
        ({"supports": ["User Input"]}, "supports"),
        ({"supports": ["x"] * 51}, "supports"),
        ({"metadata": []}, "metadata"),
        ({"metadata": 7}, "metadata"),
        ({"metadata": {"x": "y" * 70_000}}, "metadata"),
        ({"resume": "token"}, "resume"),
        ({"resume": {"chat_id": "a", "token": "b", "sent": -1}}, "resume"),
        ({"resume": {"chat_id": "a", "token": "b", "sent": True}}, "resume"),
    ],
)
def test_a_hello_that_cannot_be_used_is_answered_with_what_is_wrong(hello: dict[str, Any], said: str) -> None:
    """Who writes a link in another language has nothing but this to go by. 1008: trying again does not help."""
    rig = Rig()
    bot = RigBot(rig)
    bot.dial(**hello)
    assert bot.goodbye is not None and said in bot.goodbye
    assert bot.connection is not None and bot.connection.close is not None and bot.connection.close.code == 1008
    assert not list(rig.chats)


@pytest.mark.parametrize("frame", ["{", "[]", "", "\x00"])
def test_the_first_frame_must_be_readable(frame: str) -> None:
    """What is no link has no ten tries."""
    rig = Rig()
    connection = rig.links.connect()
    assert connection is not None
    connection.receive(frame, 0)
    assert frames_of(connection)[0]["type"] == "goodbye" and connection.close is not None


def test_messages_are_taken_once_and_acknowledged() -> None:
    """Contract, section 9: the hub takes each `n` once."""
    rig = Rig()
    bot = rig.bot()
    for text in ("one", "two"):
        bot.say(line(text))
    bot.write({"n": 1, "message": line("one")})
    assert bot.listen() == [{"ack": 2}]
    assert bot.listen() == []
    assert texts_of(rig.chat().attach()) == ["one", "two"]


def test_a_message_that_is_not_evis_is_kept_as_it_is() -> None:
    """Contract, section 9."""
    rig = Rig()
    rig.bot().say({"type": "dtmf", "digit": "5"})
    assert frames_of(rig.chat().attach())[1:] == [{"type": "dtmf", "digit": "5"}]


def test_numbers_that_were_left_out_are_said_in_the_chat() -> None:
    """A bot that dropped messages must not look as if it had said nothing."""
    rig = Rig()
    rig.bot().write({"n": 4, "message": line("four")})
    dropped, four = frames_of(rig.chat().attach())[1:]
    assert (dropped["type"], dropped["counts"]) == ("messages_dropped", {"unknown": 3})
    assert four["message"]["content"] == "four"


def test_a_message_that_cannot_be_read_is_a_fault_and_is_not_asked_for_again() -> None:
    """Else it would be sent again at every reconnect, and end every one of them."""
    rig = Rig()
    bot = rig.bot()
    bot.say("no object")  # type: ignore[arg-type]  # a bot may be wrong
    bot.say({"no": "type"})
    bot.say(line("three"))
    assert bot.listen() == [{"ack": 3}]
    assert bot.connection is not None and bot.connection.faults == 2
    assert texts_of(rig.chat().attach()) == ["three"]


@pytest.mark.parametrize(
    "frame",
    [
        "{",
        "[1]",
        '"x"',
        "{}",
        "[" * 100_000,
        '{"n": 0, "message": {"type": "x"}}',
        '{"n": "1", "message": {"type": "x"}}',
        '{"n": true, "message": {"type": "x"}}',
        '{"n": 1.5}',
        '{"n": 1e400}',
        '{"done": 1}',
        '{"type": "hello"}',
    ],
)
def test_garbage_is_counted_and_ends_the_connection_the_tenth_time(frame: str) -> None:
    """The chat, and every other link, goes on."""
    rig = Rig()
    bot, other = rig.bot(), rig.bot("other")
    for _ in range(MAX_FAULTS - 1):
        bot.write(frame)
    assert bot.listen() == [] and bot.goodbye is None
    bot.write(frame)
    bot.listen()
    assert bot.goodbye is not None and "10 frames could not be read" in bot.goodbye
    bot.cut()
    bot.resume()
    bot.say(line("again"))
    other.say(line("unharmed"))
    assert texts_of(rig.chat().attach()) == ["again"] and texts_of(rig.chat("other").attach()) == ["unharmed"]


def test_a_link_that_comes_back_goes_on_where_it_was() -> None:
    """Nothing lost, nothing doubled; consumers see no gap."""
    rig = Rig()
    bot = rig.bot()
    consumer = rig.chat().attach()
    bot.say(line("one"))
    bot.say(line("two"))  # taken, and the acknowledgement is lost with the connection
    bot.say(line("three"), lost=True)
    bot.cut()
    rig.wait(59)
    bot.resume()
    bot.say(line("four"))
    assert bot.welcome["received"] == 2
    assert texts_of(consumer) == ["one", "two", "three", "four"] and consumer.close is None


def test_a_bot_that_is_gone_for_a_minute_is_over() -> None:
    """Contract, section 8: consumers stay connected and REST says ACTIVE for 60 s, then 1000 with the reason."""
    rig = Rig()
    bot = rig.bot()
    consumer = rig.chat().attach()
    bot.cut()
    rig.wait(59)
    assert (rig.chat().status, consumer.close) == ("ACTIVE", None)
    rig.wait(1)
    frames_of(consumer)
    assert rig.chat().status == "ERROR"
    assert consumer.close is not None and consumer.close.code == 1000 and "gone for 60 s" in consumer.close.reason


def test_a_bot_that_was_given_up_is_taken_back() -> None:
    """The call went on all the while: supervisors can attach again, and the history is there."""
    rig = Rig()
    bot = rig.bot()
    bot.say(line("before"))
    bot.cut()
    rig.wait(3600)
    bot.say(line("meanwhile"), lost=True)
    bot.resume()
    assert rig.chat().status == "ACTIVE"
    assert texts_of(rig.chat().attach()) == ["before", "meanwhile"]


def test_a_chat_that_was_ended_is_not_opened_again() -> None:
    """A goodbye that was lost is said again."""
    rig = Rig()
    bot = rig.bot()
    bot.write({"type": "end", "reason": "done"})
    bot.cut()
    bot.resume()
    assert bot.goodbye == "the chat has ended" and rig.chat().status == "USER_ENDED"


def test_a_second_bot_with_a_live_chat_id_is_refused() -> None:
    """Contract, section 9. The first one does not notice."""
    rig = Rig()
    first, second = rig.bot(), rig.bot()
    assert second.goodbye is not None and "already" in second.goodbye
    first.say(line("mine"))
    assert texts_of(rig.chat().attach()) == ["mine"]


def test_a_bot_that_was_started_anew_gets_its_id_back() -> None:
    """Without its token it is another bot, and so another chat; whoever was attached is told."""
    rig = Rig()
    first = rig.bot()
    first.say(line("old"))
    consumer = rig.chat().attach()
    first.cut()
    second = rig.bot()
    assert second.goodbye is None
    assert texts_of(consumer) == ["old"] and consumer.close is not None and consumer.close.code == 1000
    assert texts_of(rig.chat().attach()) == []


@pytest.mark.parametrize("away", [True, False])
def test_a_wrong_token_takes_over_no_live_chat(away: bool) -> None:
    """Whoever knows an id must not become the bot of its chat."""
    rig = Rig()
    bot = rig.bot()
    if away:
        bot.cut()
    thief = rig.bot(None, resume={"chat_id": CHAT, "token": "token-2", "sent": 0})
    assert thief.goodbye is not None and "token" in thief.goodbye
    assert rig.chat().status == "ACTIVE"


def test_a_bot_takes_over_from_its_own_dead_connection() -> None:
    """A network that changed leaves a connection that looks alive for 40 s; the bot must not wait for that."""
    rig = Rig()
    bot = rig.bot()
    dead = bot.connection
    bot.resume()
    assert bot.goodbye is None and dead is not None and dead.close is None
    assert frames_of(dead)[-1]["type"] == "goodbye"
    dead.receive('{"n": 1, "message": {"type": "ghost"}}', 0)
    dead.gone(rig.now)
    bot.say(line("one"))
    assert not rig.chat().away and texts_of(rig.chat().attach()) == ["one"]


def test_a_hub_that_was_started_anew_says_that_it_knows_nothing() -> None:
    """Another token and `received` 0: the bot sends all it has, from 1 on. The chat keeps its id."""
    rig = Rig()
    bot = rig.bot()
    bot.say(line("one"))
    bot.listen()
    bot.say(line("two"), lost=True)
    bot._rig = Rig()
    bot._rig.links._new_token = lambda: "another"  # the hubs of a test count alike
    bot.resume()
    assert (bot.welcome["chat_id"], bot.welcome["received"]) == (CHAT, 0)
    assert texts_of(bot._rig.chat().attach()) == ["two"], "what was acknowledged is gone, and the first hub had it"


def test_nobody_is_let_in_while_a_bot_tells_another_hub_its_past() -> None:
    """Its supervisors come back at once: what they had read already would look as if it was said now."""
    rig = Rig()
    bot = rig.bot()
    bot.say(line("one"))
    bot._rig = Rig()
    bot._rig.links._new_token = lambda: "another"
    known = {"chat_id": CHAT, "token": bot.welcome["token"], "sent": 1, "tells_past": True}
    bot.dial(resume=known)
    chat = bot._rig.chat()
    with pytest.raises(NotBackYet):
        chat.attach()
    bot.say(line("one"))
    bot.write({"type": "caught_up"})
    assert texts_of(chat.attach()) == ["one"]


def test_a_bot_that_never_says_that_it_has_told_its_past_is_waited_for_no_longer_than_half_a_minute() -> None:
    """Its supervisors would else never see it."""
    rig = Rig()
    rig.bot(resume={"chat_id": CHAT, "token": "of another", "sent": 1, "tells_past": True})
    rig.links.expire(rig.now, AT_MS + RETURN_MS - 1)
    with pytest.raises(NotBackYet):
        rig.chat().attach()
    rig.links.expire(rig.now, AT_MS + RETURN_MS)
    rig.chat().attach()


def test_a_bot_that_lost_count_is_not_swallowed() -> None:
    """Its next number is one that the hub has had already, for another message."""
    rig = Rig()
    bot = rig.bot()
    for number in range(5):
        bot.say(line(str(number)))
    bot.cut()
    bot.kept, bot.sent = {}, 2
    bot.resume()
    bot.say(line("new"))
    assert bot.welcome["received"] == 2
    assert texts_of(rig.chat().attach())[-1] == "new"


def test_when_the_hub_is_full_a_bot_is_asked_to_try_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """1013, and not 1008: waiting helps."""
    rig = Rig(Limits(live_chats=1))
    rig.bot("first")
    second = rig.bot("second")
    assert second.connection is not None and second.connection.close is not None
    assert second.connection.close.code == 1013
    monkeypatch.setattr(links, "MAX_LINKS", 2)
    assert rig.links.connect() is None


def test_sessions_are_forgotten_with_their_chats() -> None:
    """Every buffer is bounded."""
    rig = Rig(Limits(ended_chats=1))
    for number in range(5):
        rig.bot(f"chat-{number}").write({"type": "end"})
    rig.wait(1)
    assert len(rig.links._sessions) == 1
