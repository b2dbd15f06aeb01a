"""Nothing is lost and nothing doubled, however links, acknowledgements and consumers come and go."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from evi_mcp.hub.consumers import Consumer
from evi_mcp.hub.link_connections import LinkConnection
from tests.hub.rig import CHAT, Rig, frames_of, line


class Chat(RuleBasedStateMachine):
    """A bot that says numbers, on a link that breaks, to consumers that come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig()
        self.said = 0
        self.sent = 0
        self.executed: list[str] = []
        self.outcomes: dict[str, str] = {}
        self.heard: dict[Consumer, list[int]] = {}
        self.replaced: list[LinkConnection] = []

    @initialize()
    def dial_in(self) -> None:
        self.bot = self.rig.bot()

    def up(self) -> bool:
        return self.bot.connection is not None

    @rule(arrives=st.booleans())
    def say(self, arrives: bool) -> None:
        """A message, perhaps into a connection that is dead already."""
        self.said += 1
        lost = not arrives or not self.up() or self.silent
        self.bot.say(line(str(self.said)), lost=lost)
        if lost:
            self.silent = True  # what is behind a lost message is lost too

    silent = False

    @precondition(up)
    @rule()
    def read_acknowledgements(self) -> None:
        if not self.silent:
            self.bot.listen()
            self.execute()

    @rule()
    def cut(self) -> None:
        if self.up():
            self.bot.cut()

    @rule(all_again=st.booleans())
    def come_back(self, all_again: bool) -> None:
        """Also while the hub thinks that the old connection is alive."""
        self.silent = False
        if self.bot.connection is not None:
            self.replaced.append(self.bot.connection)
        self.bot.resume(all_again=all_again)
        assert self.bot.goodbye is None
        self.execute()

    @precondition(lambda self: self.replaced)
    @rule(breaks=st.booleans())
    def old_connection_stirs(self, breaks: bool) -> None:
        """What comes late on a connection that was replaced is nobody's any more."""
        old = self.replaced[-1]
        old.receive(json.dumps({"n": self.said + 1, "message": line("-1")}), 0)
        if breaks:
            old.gone(self.rig.now)
            self.replaced.pop()
        assert not self.up() or not self.rig.chat().away

    @rule(seconds=st.sampled_from([1.0, 10.0, 70.0]))
    def wait(self, seconds: float) -> None:
        """Perhaps until the bot is given up, from which it is taken back."""
        self.rig.wait(seconds)

    @rule()
    def attach(self) -> None:
        if self.rig.chats.live(CHAT) is not None:
            self.heard[self.rig.chat().attach()] = []

    @precondition(lambda self: self.heard)
    @rule(data=st.data())
    def detach(self, data: st.DataObject) -> None:
        consumer = data.draw(st.sampled_from(list(self.heard)))
        self.rig.chat().detach(consumer)
        del self.heard[consumer]

    @precondition(lambda self: self.heard)
    @rule(data=st.data())
    def command(self, data: st.DataObject) -> None:
        self.sent += 1
        sender = data.draw(st.sampled_from(list(self.heard)))
        self.rig.send(sender, "tool_response", tool_call_id=f"call_{self.sent}", content="x")

    @precondition(up)
    @rule()
    def report_outcomes(self) -> None:
        """All that the bot has ever done is said again: a hub that knows takes no notice."""
        if not self.silent:
            for command_id in self.outcomes:
                self.bot.write({"done": command_id})

    def execute(self) -> None:
        for command in self.bot.commands:
            if command["id"] not in self.outcomes:
                self.outcomes[command["id"]] = "done"
                self.executed.append(command["command"]["tool_call_id"])
        self.bot.commands.clear()

    @invariant()
    def everybody_has_heard_the_chat_once_and_in_order(self) -> None:
        for consumer, heard in self.heard.items():
            for frame in frames_of(consumer):
                assert frame["type"] in ("chat_metadata", "assistant_message", "tool_response", "error")
                if frame["type"] == "assistant_message":
                    heard.append(int(frame["message"]["content"]))
            assert heard == list(range(1, len(heard) + 1))

    @invariant()
    def no_command_was_carried_out_twice(self) -> None:
        assert len(set(self.executed)) == len(self.executed)

    def teardown(self) -> None:
        """In the end the bot comes back, and everything is there."""
        if not hasattr(self, "bot"):
            return
        self.silent = False
        self.bot.resume()
        late = self.rig.chat().attach()
        numbers = [
            int(frame["message"]["content"]) for frame in frames_of(late) if frame["type"] == "assistant_message"
        ]
        assert numbers == list(range(1, self.said + 1))
        self.bot.listen()
        assert not self.bot.kept, "all of it is acknowledged"
        for consumer, heard in self.heard.items():
            if consumer.close is None:
                frames = [frame for frame in frames_of(consumer) if frame["type"] == "assistant_message"]
                assert [*heard, *(int(frame["message"]["content"]) for frame in frames)] == numbers


TestChat = Chat.TestCase
TestChat.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


garbage = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["n", "done", "refused", "type", "message", "id"]).flatmap(
        lambda name: st.builds(
            lambda value: f'{{"{name}": {value}}}',
            st.sampled_from(["1", "-1", '"x"', "null", "[]", "{}", "true", "1e9", '{"type": "x"}', '"hello"', '"end"']),
        )
    ),
)


@given(frames=st.lists(garbage, max_size=30))
def test_no_frame_of_a_bot_makes_the_hub_fail(frames: list[str]) -> None:
    """Garbage is counted, never raised; the chat of another bot goes on."""
    rig = Rig()
    bot, other = rig.bot("a"), rig.bot("b")
    for frame in frames:
        bot.write(frame)
    other.say(line("unharmed"))
    assert any(frame["type"] == "assistant_message" for frame in frames_of(rig.chat("b").attach()))
