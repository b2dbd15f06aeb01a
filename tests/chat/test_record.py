"""What is known of one chat: turns, expression, tool calls, and what a replay may change of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.chat import tool_calls
from evi_mcp.chat.events import CHAT_STATE, Draft, Event
from evi_mcp.chat.flooding import BURST, PER_S
from evi_mcp.chat.memory import CHAT_BYTES, Memory
from evi_mcp.chat.tool_calls import Answerer, Status, answer_key
from evi_mcp.chat.turns import Turn
from evi_mcp.protocol.cutting import MAX_TEXT
from evi_mcp.protocol.redaction import Mask
from evi_mcp.views import structure
from tests import frames
from tests.folding import FoldedChat


def record(*made: str, live: bool = True) -> FoldedChat:
    """A chat in which this happened while we watched; `live=False`: before we attached."""
    chat = FoldedChat(chat_id="chat-1")
    if live:
        chat.caught_up()
    for second, frame in enumerate(made):
        chat.receive(frame, float(second))
    return chat


def turns(chat: FoldedChat) -> list[tuple[str, str]]:
    return [(turn.speaker, turn.text) for turn in chat.turns.last(100)]


def statuses(chat: FoldedChat) -> dict[str, str]:
    return {call.tool_call_id: call.status.value for call in chat.tool_calls}


def test_sentences_of_one_side_make_one_turn_until_it_ends() -> None:
    """Hume: one `assistant_message` is a sentence; several make a turn, which `assistant_end` closes."""
    chat = record(
        frames.assistant("Hello.", "m-1"),
        frames.assistant("How are you?", "m-2"),
        frames.end(),
        frames.assistant("Still there?", "m-3"),
        frames.user("yes", 10),
        frames.user("I am", 20),
    )
    assert turns(chat) == [
        ("assistant", "Hello. How are you?"),
        ("assistant", "Still there?"),
        ("user", "yes I am"),
    ]


def test_interim_transcripts_are_no_turns() -> None:
    """Hume: the final transcript supersedes them."""
    assert turns(record(frames.user("he", 1, interim=True), frames.user("hello", 1))) == [("user", "hello")]


def test_an_interrupted_turn_says_so() -> None:
    """What was cut off was perhaps not heard in full."""
    chat = record(frames.assistant("Let me explain", "m-1"), frames.interruption(), frames.user("no", 5))
    assert [turn.interrupted for turn in chat.turns.last(2)] == [True, False]


def test_typed_words_are_not_mixed_with_the_callers() -> None:
    """A supervisor's `user_input` is not what the person on the line said."""
    chat = record(frames.user("I said", 1), frames.typed("somebody typed"))
    assert [(turn.text, turn.from_text) for turn in chat.turns.last(2)] == [
        ("I said", False),
        ("somebody typed", True),
    ]


def test_prosody_is_joined_to_its_message_by_id_also_when_it_comes_late() -> None:
    """Hume: `assistant_prosody` may come among other messages."""
    chat = record(
        frames.assistant("One.", "m-1"), frames.user("hm", 1), frames.assistant("Two.", "m-2"), frames.prosody("m-1")
    )
    assert [chat.scores_of(event) for event in chat.log if event.message_id == "m-1"] == [{"Sympathy": 0.44}] * 2


def test_the_voice_of_a_turn_is_the_mean_of_its_utterances() -> None:
    """A score that one utterance lacks counts as none in it."""
    turn = Turn(0, "user", 0.0, 0, False)
    assert turn.scores == {}
    chat = record(frames.user("a", 1, scores={"Joy": 0.4}), frames.user("b", 2, scores={"Joy": 0.2, "Awe": 0.2}))
    assert {name: round(score, 3) for name, score in chat.turns.last(1)[0].scores.items()} == {"Joy": 0.3, "Awe": 0.1}


def test_a_call_waits_until_somebody_answers_it() -> None:
    """Hume: any client may answer, or the call fails."""
    chat = record(frames.tool_call("a"), frames.tool_call("b"), frames.tool_response("a"), frames.tool_error("b"))
    assert statuses(chat) == {"a": "answered", "b": "failed"}
    assert [call.waiting_s(99.0) for call in chat.tool_calls] == [2.0, 2.0]


def test_a_call_that_the_user_talked_past_is_superseded_by_the_next_one() -> None:
    """Hume: when the user moves on, a call is dropped without a word, or replaced under a new id."""
    chat = record(frames.tool_call("a"), frames.user("never mind", 1), frames.tool_call("b"))
    assert statuses(chat) == {"a": "superseded", "b": "pending"}
    both = record(frames.tool_call("a"), frames.tool_call("b"))
    assert statuses(both) == {"a": "pending", "b": "pending"}


def test_words_after_a_call_close_it_only_if_they_came_with_the_history() -> None:
    """Live, EVI may still say that it is looking; losing a pending call would leave the caller waiting."""
    made = (frames.tool_call("a"), frames.assistant("It is in Lyon.", "m-1"))
    assert statuses(record(*made)) == {"a": "pending"}
    assert statuses(record(*made, live=False)) == {"a": "answered"}
    quick = (frames.tool_call("a"), frames.assistant("Hm.", "m-1", quick=True))
    assert statuses(record(*quick, live=False)) == {"a": "pending"}


def test_the_ledger_is_bounded_and_forgets_closed_calls_first() -> None:
    """Every buffer is; a pending call is the last thing to lose."""
    made = [frames.tool_call("first")]
    for n in range(tool_calls.MAX_TOOL_CALLS + 50):
        made += [frames.tool_call(f"call-{n}"), frames.tool_response(f"call-{n}")]
    chat = record(*made)
    assert len(list(chat.tool_calls)) == tool_calls.MAX_TOOL_CALLS
    first = chat.tool_calls.get("first")
    assert first is not None and first.status is Status.PENDING


def test_a_field_of_megabytes_is_cut_and_says_so() -> None:
    """The log is bounded in what it holds, not only in how many."""
    chat = record(frames.tool_response("a", "x" * (MAX_TEXT + 7)))
    assert chat.log.last is not None
    assert str(chat.log.last.content).endswith("[cut here: 7 more characters were not kept]")


@given(st.lists(st.sampled_from(["user", "typed", "say", "end", "cut", "call", "answer", "late"]), max_size=25))
def test_a_complete_replay_changes_nothing(kinds: list[str]) -> None:
    """A reconnect must not add a turn, a call or an event, nor reopen what is closed."""
    made = [frames.metadata()]
    for n, kind in enumerate(kinds):
        made.append(
            {
                "user": frames.user(f"u{n}", n * 10),
                "typed": frames.typed("yes"),
                "say": frames.assistant(f"a{n}", f"m-{n}"),
                "end": frames.end(),
                "cut": frames.interruption(n),
                "call": frames.tool_call(f"call-{n}"),
                "answer": frames.tool_response(f"call-{n - 1}"),
                "late": frames.prosody(f"m-{n - 1}"),
            }[kind]
        )
    chat = record(*made)
    before = (turns(chat), statuses(chat), [event.seq for event in chat.log])
    chat.connect_again()
    for frame in made:
        assert chat.receive(frame, 1000.0) == []
    assert (turns(chat), statuses(chat), [event.seq for event in chat.log]) == before


def test_a_call_that_the_user_talked_past_before_we_attached_may_still_be_answered() -> None:
    """Nobody can tell whether it was answered or dropped: who asks may try."""
    chat = record(frames.tool_call("a"), frames.user("hello?", 1), frames.assistant("Yes?", "m-1"), live=False)
    assert statuses(chat) == {"a": "superseded"}


def test_prosody_that_comes_before_its_message_is_joined_to_it() -> None:
    """EVI promises no order; some services send the voice first (it was lost)."""
    chat = record(frames.prosody("m-1"), frames.assistant("I am sorry.", "m-1"), frames.end())
    [message] = [event for event in chat.log if event.type == "assistant_message"]
    assert chat.scores_of(message) == {"Sympathy": 0.44}
    assert chat.turns.last(1)[0].scores == {"Sympathy": 0.44}


def test_an_event_never_changes_once_it_is_logged() -> None:
    """Readers, replicas and stores hold the same event: what comes later about it is a fact of its own."""
    chat = record(frames.assistant("One.", "m-1"))
    [message] = list(chat.log)
    with pytest.raises(AttributeError):
        message.text = "Two."
    chat.receive(frames.prosody("m-1"))
    assert message.scores is None and chat.scores_of(message) == {"Sympathy": 0.44}


def test_a_call_whose_id_is_used_again_is_another_call() -> None:
    """Some providers count their ids anew: the second call was no event, and answering it said "was answered"."""
    chat = record(frames.tool_call("call_0"), frames.tool_response("call_0"), frames.tool_call("call_0"))
    first, second = chat.tool_calls
    assert (first.status, second.status) == (Status.ANSWERED, Status.PENDING)
    assert chat.tool_calls.get("call_0") is second
    assert chat.tool_calls.pending() == [second]


def test_our_own_answer_shown_back_closes_no_later_call_of_the_same_id() -> None:
    """A mirror of the first answer that comes late is not an answer to the second call."""
    chat = record(frames.tool_call("call_0"))
    [first] = chat.tool_calls
    first.close(Status.ANSWERED, Answerer("us", "agent"), at=1.0, elapsed=1.0)
    first.sent = answer_key("tool_response", "ok")
    chat.receive(frames.tool_call("call_0"))
    chat.receive(frames.tool_response("call_0", "ok"))
    assert [call.status for call in chat.tool_calls] == [Status.ANSWERED, Status.PENDING]
    chat.receive(frames.tool_response("call_0", "ok"))
    assert [call.status for call in chat.tool_calls] == [Status.ANSWERED, Status.ANSWERED]


def test_a_flood_of_a_type_that_nobody_knows_is_counted_and_pushes_out_no_speech() -> None:
    """Thirty levels of a microphone a second: they woke every wait, and speech was dropped for them."""
    chat = record(frames.user("I said this", 1))
    for n in range(3000):
        chat.receive(frames.frame("audio_level", level=n), 10.0 + n / 30)
    shown = [event for event in chat.log if event.type == "audio_level"]
    assert len(shown) <= BURST + PER_S * 100 + 1
    assert sum(event.count or 1 for event in shown) > 2900
    assert "2999" in str(shown[-1].content) or shown[-1].count
    assert turns(chat) == [("user", "I said this")]


def test_what_is_minor_is_dropped_before_what_was_said() -> None:
    """Audio and interim words come by the thousand; who reads later needs the words."""
    chat = FoldedChat(max_events=10)
    chat.caught_up()
    chat.receive(frames.user("first words", 1))
    for n in range(50):
        chat.receive(frames.audio(f"m-{n}"))
        chat.receive(frames.user(f"in {n}", n, interim=True))
    assert next(event.text for event in chat.log) == "first words"
    assert (chat.log.dropped_shown_seq, chat.log.dropped_major_seq) == (0, 0)
    for n in range(20):
        chat.receive(frames.user(f"words {n}", 1000 + n))
    assert {event.type for event in chat.log} == {"user_message"}
    assert chat.log.dropped_major_seq > 0


def test_one_chat_holds_no_more_than_its_budget_whatever_it_is_made_of() -> None:
    """2,000 turns of 256 Ki emoji took 2 GiB, and calls with large parameters 1 GiB: what is counted is bytes."""
    memory = Memory()
    chat = FoldedChat(memory=memory, max_audio=2 * 2**20)
    chat.caught_up()
    for n in range(60):
        chat.receive(frames.user("😀" * MAX_TEXT, n))
        chat.receive(frames.assistant("hm", f"a-{n}"))
        chat.receive(frames.tool_call(f"call-{n}", parameters="я" * MAX_TEXT))
        chat.receive(frames.audio(f"m-{n}", data="A" * 2**19))
    assert CHAT_BYTES / 2 < chat.kept_bytes <= CHAT_BYTES
    assert memory.kept == chat.kept_bytes
    assert chat.log.last.type == "audio_output" and len(chat.turns) > 1
    chat.forget()
    assert memory.kept == 0


def test_when_all_chats_together_are_full_the_largest_gives_way_and_a_small_one_loses_nothing() -> None:
    """One chat that floods must not cost another its history."""
    memory = Memory(2**20)
    small, large = FoldedChat(memory=memory), FoldedChat(memory=memory, max_events=10**6)
    small.receive(frames.user("hello", 1))
    for n in range(1000):
        large.receive(frames.user("x" * 5000, n))
    for n in range(20):
        small.receive(frames.user(f"word {n}", 100 + n))
    assert len(small.log) == 21 and small.log.dropped_seq == 0
    assert large.log.dropped_seq > 0
    assert memory.kept <= 2**20


def test_a_secret_that_is_the_name_of_a_field_breaks_nothing() -> None:
    """Whoever configures the server may choose any value; only values are masked, and the event is still one."""
    chat = FoldedChat(mask=Mask(["message_id"]))
    chat.receive(frames.assistant("my message_id", "m-1"), 1.0)
    [event] = chat.log
    assert (event.text, event.message_id) == ("my [redacted]", "m-1")


def test_a_turn_that_ends_without_a_word_supersedes_no_call() -> None:
    """The end may be that of the turn in which the call was made: the caller still waits for the answer."""
    chat = FoldedChat(frames.metadata(), frames.tool_call("call_1"), frames.end())
    assert [call.tool_call_id for call in chat.record.tool_calls.pending()] == ["call_1"]
    for frame in (frames.assistant("It is in Lyon.", "m-1"), frames.end()):
        chat.receive(frame)
    assert chat.record.tool_calls.pending() == []


def stands(chat: FoldedChat, state: str, reason: str | None = None, at: float = 9.0) -> None:
    chat.append([Draft(Event(chat_id="chat-1", at=at, type=CHAT_STATE, state=state, reason=reason))], at)


def test_a_duration_that_was_not_seen_is_unknown_and_not_zero() -> None:
    """What comes with a history comes all at once: "answered, 0 s by someone else" was said of a call of half a
    minute."""
    replayed = record(frames.tool_call("a"), frames.tool_response("a"), frames.tool_call("b"), live=False)
    assert statuses(replayed) == {"a": "answered", "b": "pending"}
    assert [call.waiting_s(99.0) for call in replayed.tool_calls] == [None, 97.0]
    assert structure.tool_call(next(iter(replayed.tool_calls)), 99.0, with_chat_id=False) == {
        "tool_call_id": "a",
        "status": "answered",
        "replayed": True,
        "name": "parcel_status",
        "parameters": {"number": "LY-4471"},
        "answered_by": "someone else",
    }
    away = record(frames.tool_call("a"))
    away.connect_again()
    away.receive(frames.tool_call("a"), 30.0)
    away.receive(frames.tool_response("a"), 30.0)
    assert [call.waiting_s(99.0) for call in away.tool_calls] == [None], "it was answered while nobody listened"


def test_no_call_goes_on_after_its_chat_has_ended() -> None:
    """A built-in tool was shown as running for ever, and a call as waiting for an answer that nobody can give."""
    chat = record(frames.tool_call("a"), frames.tool_call("web", response_required=False), frames.tool_call("c"))
    chat.receive(frames.tool_response("c"), 3.0)
    stands(chat, "ended", "EVI closed the chat", at=9.0)
    assert statuses(chat) == {"a": "unanswered", "web": "unanswered", "c": "answered"}
    assert chat.tool_calls.pending() == []
    assert [call.waiting_s(99.0) for call in chat.tool_calls] == [9.0, 8.0, 1.0]
    stands(chat, "reconnecting", "attached again", at=20.0)
    stands(chat, "live", at=21.0)
    assert statuses(chat) == {"a": "pending", "web": "running", "c": "answered"}, "the chat was resumed"
    assert [call.tool_call_id for call in chat.tool_calls.pending()] == ["a"]


@pytest.mark.parametrize(("state", "reason"), [("failed", "gave up"), ("ended", "detached")])
def test_a_chat_that_goes_on_elsewhere_still_waits(state: str, reason: str) -> None:
    """That this server is away from it does not end a chat, and the call in it waits."""
    chat = record(frames.tool_call("a"))
    stands(chat, state, reason)
    assert statuses(chat) == {"a": "pending"}


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("pipecat 1.2", "pipecat"),
        ({"name": "openai_realtime", "evi-mcp": "1"}, "openai_realtime"),
        ({"evi-mcp": "1"}, None),
        ("{broken", "{broken"),
    ],
)
def test_a_source_is_known_by_its_name(source: object, named: str | None) -> None:
    """Versions stand beside it, in whatever form its maker likes."""
    assert record(frames.metadata(source=source)).record.source_name == named
    assert record(frames.metadata()).record.source_name is None
