"""The scripted calls react to a supervisor: otherwise nobody could learn on them how to supervise."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from evi_mcp.simulator.scenario import Scenario, Temper, Whisper, scenarios
from evi_mcp.simulator.whispers import is_whisper
from tests.simulator.play import Event, Play

ORDER = '{"status": "in Lyon", "eta": "tomorrow"}'
CHARGES = '{"charges": "two charges of 49 euros"}'
APPROVED = "The refund is approved: EVI may give back the second charge."


def finals(play: Play) -> list[Event]:
    """What the caller said."""
    return [event for event in play.of("user_message") if not event["interim"] and not event["from_text"]]


def anger(event: Event) -> float:
    score: float = event["models"]["prosody"]["scores"]["Anger"]
    return score


def words(event: Event) -> str:
    said: str = event["message"]["content"]
    return said


def until_said(play: Play, part: str) -> None:
    play.until("user_message", lambda event: not event["interim"] and part in words(event))


def until_evi_said(play: Play, part: str) -> None:
    play.until("assistant_message", lambda event: part in words(event))


def answer(play: Play, content: str) -> None:
    play.send("tool_response", tool_call_id=play.until("tool_call")["tool_call_id"], content=content)


def angry_support() -> Play:
    """The support call at the moment at which a supervisor steps in."""
    play = Play("support")
    answer(play, ORDER)
    until_said(play, "I want my money back")
    return play


def test_the_billing_call_is_solved_by_a_whisper() -> None:
    """EVI says what it needs, a supervisor gives it, and the caller leaves content."""
    play = Play("billing")
    answer(play, CHARGES)
    until_evi_said(play, "A supervisor has to approve a refund")
    play.send("session_settings", context={"text": APPROVED})
    answer(play, '{"refund": "R-17"}')
    play.to_the_end()
    assert "It is done. The number of your refund is R-17." in play.spoken()
    assert anger(finals(play)[-1]) < 0.15
    assert words(finals(play)[-1]) == "Thank you for sorting it out. Goodbye."


commands: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.sampled_from(["Your refund is on its way.", "One moment, please.", APPROVED]).flatmap(
        lambda text: st.sampled_from([{"type": "assistant_input", "text": text}, {"type": "user_input", "text": text}])
    ),
    st.sampled_from([{"type": "pause_assistant_message"}, {"type": "resume_assistant_message"}]),
    st.sampled_from(["Be kind.", "No refund, please.", "We do not refund.", "We won't approve it."]).map(
        lambda text: {"type": "session_settings", "context": {"text": text}}
    ),
    st.just({"type": "tool_response", "tool_call_id": "LAST", "content": APPROVED}),
)


@given(moves=st.lists(st.tuples(st.floats(0, 15), commands), max_size=20))
def test_without_that_whisper_the_billing_call_ends_angry_whatever_else_is_done(
    moves: list[tuple[float, dict[str, Any]]],
) -> None:
    """Only the whisper solves it; talking the caller calm does not."""
    play = Play("billing", tool_timeout_s=20)
    for seconds, command in moves:
        play.wait(seconds)
        if calls := play.of("tool_call"):
            command = {name: calls[-1]["tool_call_id"] if value == "LAST" else value for name, value in command.items()}
        play.raw(json.dumps(command))
    play.send("resume_assistant_message")
    play.to_the_end()
    assert not [event for event in play.of("tool_call") if event["name"] == "refund_charge"]
    assert anger(finals(play)[-1]) > 0.5


def test_a_whisper_that_comes_too_early_is_remembered() -> None:
    """A supervisor who knows at once what EVI will need is not punished for it."""
    play = Play("billing")
    play.send("session_settings", context={"text": APPROVED})
    answer(play, CHARGES)
    until_evi_said(play, "my supervisor has approved it")
    assert len(finals(play)) == 2


def test_a_whisper_during_a_pause_is_used_in_the_reply_after_it() -> None:
    """EVI decides what it says when it speaks: pause, whisper, resume is what a careful supervisor does."""
    play = Play("billing")
    answer(play, CHARGES)
    until_said(play, "They are not valid")
    play.send("pause_assistant_message")
    play.send("session_settings", context={"text": APPROVED})
    play.wait(2)
    play.send("resume_assistant_message")
    assert words(play.until("assistant_message")) == "I have good news: my supervisor has approved it."


def test_a_whisper_is_used_in_the_answer_to_typed_words_too() -> None:
    """`send_user_input` after a whisper is how an agent makes EVI speak at once."""
    play = Play("billing")
    answer(play, CHARGES)
    until_evi_said(play, "nobody has told me of one")
    play.send("session_settings", context={"text": APPROVED})
    play.send("user_input", text="Please look again.")
    answer(play, '{"refund": "R-17"}')
    play.to_the_end()
    assert "You said: Please look again." not in play.spoken()
    assert anger(finals(play)[-1]) < 0.15


def test_a_whisper_is_used_once_however_long_the_context_stands() -> None:
    """A persistent context holds for every reply; EVI does not refund the same charge at each."""
    play = Play("billing")
    answer(play, CHARGES)
    play.send("session_settings", context={"text": APPROVED, "type": "persistent"})
    answer(play, '{"refund": "R-17"}')
    play.to_the_end()
    assert len([event for event in play.of("tool_call") if event["name"] == "refund_charge"]) == 1


@pytest.mark.parametrize("script", scenarios())
def test_any_whisper_changes_what_evi_says_next(script: str) -> None:
    """A context that the script has no words for is used as it is, once."""
    play = Play(script, tool_timeout_s=1)
    until = "Her number is 17 at platform 4"
    play.send("session_settings", context={"text": until, "type": "persistent"})
    play.to_the_end()
    assert play.spoken().count(f"What I know about it: {until}") == 1


def test_a_barge_in_calms_the_caller() -> None:
    """Paused first, so that one voice is heard; the words of the caller change too, and not only the scores."""
    play, alone = angry_support(), angry_support()
    play.send("pause_assistant_message")
    play.send("assistant_input", text="This is Kim, the shift lead.")
    play.until("assistant_end")
    play.send("resume_assistant_message")
    before = len(finals(play))
    for call in (play, alone):
        call.to_the_end()
    after, without = finals(play)[before:], finals(alone)[before:]
    assert all(anger(one) < anger(other) - 0.1 for one, other in zip(after, without, strict=True))
    assert words(after[0]).startswith("All right.")


def test_a_line_over_evi_calms_nobody() -> None:
    """Two voices at once: the reason to pause first."""
    play, alone = Play("support", tool_timeout_s=1), Play("support", tool_timeout_s=1)
    until_evi_said(play, "What I can do")
    play.send("assistant_input", text="This is Kim, the shift lead.")
    for call in (play, alone):
        call.to_the_end()
    assert anger(finals(play)[-1]) > anger(finals(alone)[-1])


def test_the_same_line_again_and_again_wears_off() -> None:
    """Nobody is talked calm by repetition: ten lines are worth less than two of the first."""
    tempers = []
    for lines in (1, 10):
        play = angry_support()
        play.send("pause_assistant_message")
        for _ in range(lines):
            play.send("assistant_input", text="One moment, please.")
        play.send("resume_assistant_message")
        until_said(play, "excuse")
        tempers.append(anger(finals(play)[-1]))
    assert tempers[0] > tempers[1] > 0.1


def test_a_long_pause_angers_the_caller() -> None:
    """Nobody speaks to the caller, who says so, in words and in the voice."""
    play, alone = angry_support(), angry_support()
    play.send("pause_assistant_message")
    for call in (play, alone):
        call.to_the_end()
    impatient = scenarios()["support"].temper.impatient
    assert any(words(event).startswith(impatient) for event in finals(play))
    assert not any(words(event).startswith(impatient) for event in finals(alone))
    assert anger(finals(play)[-2]) > anger(finals(alone)[-2])


@pytest.mark.parametrize("script", ["billing", "booking", "support"])
def test_a_tool_call_that_nobody_answers_angers_the_caller(script: str) -> None:
    """And an answer in time does not; the later it is the worse."""
    angers = []
    for after_s in (3, 30, None):
        play = Play(script)
        call = play.until("tool_call")
        if after_s is not None:
            play.wait(after_s)
            play.send("tool_response", tool_call_id=call["tool_call_id"], content="found")
        heard = len(finals(play))
        while len(finals(play)) == heard:
            play.wait(1)
        angers.append(anger(finals(play)[-1]))
    in_time, late, never = angers
    assert in_time + 0.1 < late < never + 0.01 and never > in_time + 0.3


def test_time_for_an_answer_is_real_time_for_the_temper_too() -> None:
    """A slow agent is not the worse for a fast demonstration."""
    play = Play("booking", speed=20.0)
    call = play.until("tool_call")
    play.wait(8)
    play.send("tool_response", tool_call_id=call["tool_call_id"], content="found")
    until_said(play, "Half past seven")
    assert anger(finals(play)[-1]) < 0.1


def test_an_unsupervised_call_in_which_nothing_goes_wrong_is_the_script() -> None:
    """Who writes a script hears it as it was written."""
    play = Play("booking")
    for _ in range(2):
        answer(play, "found")
    play.to_the_end()
    assert [words(event) for event in finals(play)] == [line.user.says for line in scenarios()["booking"].exchanges]


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ("Refund approved.", True),
        ("You may now give the money back", True),
        ("Please REFUND the second charge; do not make him wait.", True),
        ("Do not offer the letter and approve the refund", True),
        ("Do not refund", False),
        ("We don’t refund", False),
        ("No refund", False),
        ("The prefund is large", False),
        ("", False),
    ],
)
def test_a_whisper_is_known_by_its_words_clause_by_clause(context: str, expected: bool) -> None:
    """What is forbidden in one clause and allowed in the next is allowed."""
    assert is_whisper(context, scenarios()["billing"].whispers[0]) is expected


@given(context=st.text(max_size=80), mention=st.text(min_size=1, max_size=10).filter(str.strip))
def test_no_words_of_a_whisper_make_a_call_fail(context: str, mention: str) -> None:
    """What stands in a script, and what a client sends, is text and no pattern."""
    rule = Whisper.model_validate({"mentions": [mention], "evi": [{"says": ["Yes."]}]})
    assert is_whisper(context, rule) in (True, False)


@pytest.mark.parametrize(
    "mistake",
    [
        {"whispers": [{"mentions": [], "evi": [{"says": ["Yes."]}]}]},
        {"whispers": [{"mentions": ["a"], "evi": []}]},
        {"whispers": [{"mentions": ["a"], "from_exchange": 0, "evi": [{"says": ["Yes."]}]}]},
        {"temper": {"shows": {"Angr": 0.5}}},
        {"temper": {"barge_in": -2}},
        {"temper": {"barge_inn": -0.5}},
    ],
)
def test_a_mistake_in_the_rules_of_a_script_is_an_error(mistake: dict[str, Any]) -> None:
    """A rule that silently never holds would teach the wrong thing."""
    script = {
        "name": "x",
        "config_id": "1b60e1a0-cc59-424a-8d2c-189d354db3f3",
        "exchanges": [],
        "ending": {"kind": "user_leaves"},
    }
    Scenario.model_validate(script)
    with pytest.raises(ValidationError):
        Scenario.model_validate({**script, **mistake})


def test_the_same_commands_at_the_same_times_give_the_same_call() -> None:
    """A lesson can be repeated: reactions follow from the seed and the commands alone."""
    calls = []
    for _ in range(2):
        play = angry_support()
        play.send("pause_assistant_message")
        play.wait(30)
        play.send("resume_assistant_message")
        calls.append(play.to_the_end())
    assert calls[0] == calls[1]


PAGE = Path(__file__).parents[2] / "docs" / "simulator.md"


def test_the_script_in_the_docs_can_be_played() -> None:
    """Who writes a call starts from it."""
    [example] = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    script = Scenario.model_validate_json(example)
    assert script.whispers and script.whispers[0].then == ()


def test_the_table_in_the_docs_has_the_numbers_of_the_code() -> None:
    """They are what an author reckons with."""
    page, rules = PAGE.read_text(), Temper()
    for what, change in [
        ("while EVI is paused", rules.barge_in),
        ("without a pause", rules.line_into_silence),
        ("over EVI's own words", rules.line_over_evi),
        (f"more than {rules.patience_s:g} s", rules.per_second_of_silence),
        (f"more than {rules.tool_patience_s:g} s", rules.per_second_of_silence),
        ("nobody answers a tool call", rules.tool_unanswered),
    ]:
        assert re.search(rf"\| [^|]*{re.escape(what)}[^|]*\| {re.escape(f'{change:+g}')}\b", page), what
    assert all(f"| `{name}` |" in page for name in scenarios())
