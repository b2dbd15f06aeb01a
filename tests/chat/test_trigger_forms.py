"""Triggers as models and clients write them: what has one meaning is taken, what has none is told the right form."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.chat.trigger_forms import FORMS, SCHEMA, read_triggers
from evi_mcp.chat.triggers import OnEvent, OnExpression, OnSilence, OnText, OnToolCallWaiting, OnTurnEnd, Trigger
from evi_mcp.errors import InvalidArgument

EMPTY: dict[str, Any] = {
    "types": [],
    "score": "",
    "at_least": 0,
    "at_most": 0,
    "rise": 0,
    "turns": 0,
    "speaker": "",
    "contains": "",
    "seconds": 0,
    "chat_id": "",
}
"""What a model writes into the fields that it does not mean, where a client requires every field."""
MEANT: list[tuple[dict[str, Any], Trigger]] = [
    ({"kind": "event", "types": ["error"]}, OnEvent(types=("error",))),
    ({"kind": "event", "types": ["user_message"], "speaker": "user"}, OnEvent(types=("user_message",), speaker="user")),
    ({"kind": "expression", "score": "Anger", "at_least": 0.5}, OnExpression(score="Anger", at_least=0.5)),
    ({"kind": "expression", "score": "Anger", "at_most": 0.2}, OnExpression(score="Anger", at_most=0.2)),
    ({"kind": "expression", "score": "Joy", "rise": -0.2, "turns": 2}, OnExpression(score="Joy", rise=-0.2, turns=2)),
    ({"kind": "text", "contains": "help"}, OnText(contains="help")),
    ({"kind": "silence", "seconds": 8}, OnSilence(seconds=8)),
    ({"kind": "tool_call_waiting", "seconds": 0.5}, OnToolCallWaiting(seconds=0.5)),
    ({"kind": "turn_end", "chat_id": "c"}, OnTurnEnd(chat_id="c")),
]


@pytest.mark.parametrize(("written", "meant"), MEANT, ids=str)
def test_each_form_is_read_however_it_is_written(written: dict[str, Any], meant: Trigger) -> None:
    """docs/tools.md: what is empty was not given; one thing is a list of it; JSON text is what it says."""
    in_quotes = {name: str(value) if isinstance(value, int | float) else value for name, value in written.items()}
    nulls: dict[str, Any] = dict.fromkeys(EMPTY)
    every: list[Any] = [
        written,
        [written],
        json.dumps(written),
        [json.dumps([written])[1:-1]],
        {**EMPTY, **written},
        {**nulls, **written},
        in_quotes,
        {**written, "kind": written["kind"].upper()},
    ]
    for form in every:
        assert read_triggers(form) == (meant,), form
    assert meant.shown().items() <= {**EMPTY, **written}.items()


@pytest.mark.parametrize(
    "empty", [None, "", " ", [], {}, [{}], [None], [""], "[]", "null", [EMPTY], [{"kind": ""}]], ids=str
)
def test_what_is_empty_is_no_trigger(empty: Any) -> None:
    """The wait is then one for any event, as without `until`."""
    assert read_triggers(empty) == ()


@pytest.mark.parametrize(
    "wrong",
    [
        "tool_call_waiting",
        ["tool_call"],
        5,
        [[{"kind": "turn_end"}]],
        {"kind": "fury"},
        {"kind": "tool_call"},
        {"kind": ["silence"]},
        {"kind": "event"},
        {"kind": "event", "types": [5]},
        {"kind": "event", "types": ["x"] * 51},
        {"kind": "event", "types": ["tool_call"], "speaker": "user"},
        {"kind": "expression"},
        {"kind": "expression", "score": "Anger", "at_least": "much"},
        {"kind": "expression", "score": "Anger", "at_least": 2},
        {"kind": "expression", "score": "Anger", "at_least": 0, "at_most": 0, "rise": 0},
        {"kind": "expression", "score": "Anger", "at_least": 0.5, "at_most": 0.1},
        {"kind": "expression", "score": "Anger", "at_least": 0.5, "turns": 1.5},
        {"kind": "expression", "at_most": 0.5, "seconds": 3},
        {"kind": "text", "contains": "x" * 1001},
        {"kind": "silence", "seconds": True},
        {"kind": "silence", "seconds": 1e999},
        {"kind": "silence", "contains": "x"},
        {"kind": "turn_end", "speaker": "user"},
        {"seconds": 5},
        {"contains": "help"},
        "[{",
    ],
    ids=str,
)
def test_a_wrong_form_is_answered_with_the_right_one(wrong: Any) -> None:
    """An agent recovers in one step: what stands in the sentence can be sent as it is."""
    with pytest.raises(InvalidArgument) as refused:
        read_triggers(wrong)
    said = str(refused.value)
    assert said.endswith("}.") and "until takes objects such as {" in said and len(said) < 700
    [trigger] = read_triggers(said.partition(" such as ")[2][:-1])
    assert trigger.kind in FORMS


def test_what_was_given_and_can_be_so_is_kept_in_the_right_form() -> None:
    """An agent that has to write it anew may make another mistake."""
    with pytest.raises(
        InvalidArgument, match=r'\{"kind": "expression", "score": "Joy", "at_most": 0.5, "turns": 3\}\.'
    ):
        read_triggers({"kind": "expression", "score": "Joy", "at_most": 0.5, "turns": 3, "speaker": "caller"})


fields = st.sampled_from([*SCHEMA["properties"], "x"]) | st.text(max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([*FORMS, "user", "Anger"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fields, inner, max_size=4),
    max_leaves=8,
)


@given(
    values
    | st.builds(lambda kind, rest: {**rest, "kind": kind}, st.sampled_from([*FORMS]), st.dictionaries(fields, values))
)
def test_anything_else_is_refused_in_one_line(written: Any) -> None:
    """Nothing that an agent writes breaks it."""
    try:
        triggers = read_triggers(written)
    except InvalidArgument as refused:
        said = str(refused)
        assert len(said.splitlines()) == 1 and len(said) < 1000 and "validation" not in said and "Error" not in said
    else:
        for trigger in triggers:
            hash(trigger)
            assert read_triggers(trigger.shown()) == (trigger,)
