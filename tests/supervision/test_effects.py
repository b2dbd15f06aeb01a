"""What an event says of a command: proof is what was sent, shown back, and nothing that only looks like it."""

from typing import Any

import pytest

from evi_mcp.chat.events import Event
from evi_mcp.chat.tool_calls import Status, TrackedCall
from evi_mcp.protocol.commands import AssistantInput, SessionSettings, ToolResponse, UserInput
from evi_mcp.protocol.cutting import MAX_TEXT
from evi_mcp.supervision.effects import HeardAsUser, Proof, Proofs, ShownBack, SpokenByEvi, TakenByEvi, Verdict


def event(kind: str, **fields: Any) -> Event:
    return Event(seq=1, chat_id="c", at=0.0, type=kind, **fields)


def call() -> TrackedCall:
    return TrackedCall(
        number=1,
        tool_call_id="a",
        chat_id="c",
        name="f",
        parameters=None,
        status=Status.PENDING,
        at=0.0,
        asked_at=0.0,
        replayed=False,
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"language_model_api_key": "sk-1234567890"},
        {"variables": {"tier": "gold", "api_key": "mine"}},
        {"metadata": {"deep": [{"password": "mine"}]}},
        {"context": None},
        {"metadata": {"note": None}},
    ],
)
def test_settings_whose_secrets_nobody_shows_are_never_confirmed(fields: dict[str, Any]) -> None:
    """Somebody else's settings with a secret of the same name look alike: `confirmed` was false then."""
    command = SessionSettings.of(**fields)
    assert ShownBack.of(command) is None


def test_settings_are_confirmed_by_what_was_sent_at_any_depth_and_by_nothing_else() -> None:
    """Beside what was sent there may be defaults; another value anywhere is another command."""
    effect = ShownBack.of(SessionSettings.of(variables={"tier": 1}, context={"text": "hm", "type": "temporary"}))
    assert effect is not None
    whole = {"variables": {"tier": 1}, "context": {"text": "hm", "type": "temporary"}, "voice_id": "v"}
    assert effect.judge(event("session_settings", settings=whole), False) is Verdict.PROOF
    assert effect.judge(event("session_settings", settings={**whole, "variables": {"tier": True}}), False) is None
    assert effect.judge(event("session_settings", settings={**whole, "variables": {"tier": 2}}), False) is None
    assert effect.judge(event("session_settings", settings=whole), True) is None, "an older command's"


def test_two_long_answers_that_begin_alike_are_two() -> None:
    """Comparing beginnings made another client's answer the proof of ours."""
    ours = ToolResponse.of(tool_call_id="a", content="x" * 5000 + "ours")
    effect = TakenByEvi(ours, call())
    theirs = event("tool_response", tool_call_id="a", content="x" * 5000 + "theirs")
    assert effect.judge(theirs, False) is Verdict.REFUTED
    mine = event("tool_response", tool_call_id="a", content=ours.content)
    assert effect.judge(mine, False) is Verdict.PROOF


def test_an_answer_too_long_for_the_log_is_known_by_what_is_kept() -> None:
    """The log keeps its beginning, and says how much is missing."""
    ours = ToolResponse.of(tool_call_id="a", content="y" * (MAX_TEXT + 5))
    kept = f"{'y' * MAX_TEXT} [cut here: 5 more characters were not kept]"
    assert TakenByEvi(ours, call()).judge(event("tool_response", tool_call_id="a", content=kept), False)


def test_a_line_is_confirmed_when_all_of_it_was_spoken() -> None:
    """EVI may split a long text: the last part is the proof."""
    effect = SpokenByEvi(AssistantInput.of(text="One moment, a colleague joins us."))
    part = event("assistant_message", text="One moment,", from_text=True)
    rest = event("assistant_message", text="a colleague joins us.", from_text=True)
    assert [effect.judge(item, False) for item in (part, rest)] == [Verdict.PART, Verdict.PROOF]


def test_words_that_the_caller_spoke_confirm_no_typed_input() -> None:
    """Only what comes back as typed is ours."""
    effect = HeardAsUser(UserInput.of(text="yes"))
    assert effect.judge(event("user_message", text="yes"), False) is None
    assert effect.judge(event("user_message", text="yes", from_text=True), False) is Verdict.PROOF


class NeverShown:
    """An effect that no event shows."""

    def judge(self, event: Event, claimed: bool) -> Verdict | None:
        return None


def test_a_command_whose_effect_never_shows_is_given_up_in_time() -> None:
    """It would claim the effect of an equal command for ever, and the list of those looked for would only grow."""
    proofs = Proofs()
    proofs.add(Proof(NeverShown(), UserInput.of(text="hi"), 10.0, lambda _: None))
    event = Event(chat_id="c", at=0.0, type="user_message")
    proofs.see(event, 10.0)
    assert len(proofs) == 1
    proofs.see(event, 10.1)
    assert len(proofs) == 0
