"""Whatever the order in which the service's events come, a supervisor reads the same conversation."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.openai_realtime.translator import Translator
from tests.openai_realtime.play import AT_MS, turns
from tests.openai_realtime.strands import Builder, Event, Exchange, Strands, exchanges, interleaved

SESSION = {"type": "realtime", "audio": {"input": {"transcription": {"model": "x"}, "turn_detection": None}}}


def translated(events: list[Event], now: float = 0.0) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    translator = Translator(messages.append, "test")
    translator.connected()
    translator.receive({"type": "session.created", "session": SESSION}, now, AT_MS)
    for event in events:
        translator.receive(event, now, AT_MS)
    translator.tick(now + 60)
    translator.tick(now + 120)
    return messages


def told(made: list[Exchange]) -> list[tuple[str, str]]:
    """The turns of a call, written down from the exchanges alone."""
    found: list[tuple[str, str]] = []

    def say(who: str, words: str) -> None:
        if found and found[-1][0] == who:
            words = f"{found.pop()[1]} {words}"
        found.append((who, words))

    for number, exchange in enumerate(made):
        words = exchange.transcript
        failed = "[speech, its transcription failed]" if words is None else "[speech without words]"
        say("user", words if words is not None and words.strip() else failed)
        for line in range(exchange.lines):
            say("assistant", f"line {line} of r{number}")
        if exchange.tool and not exchange.cut:
            found += [("tool_call", "look {}"), ("tool_response", "ok"), ("assistant", f"line 0 of r{number}x")]
        elif exchange.cut and number + 1 < len(made):
            found.append(("user_interruption", ""))
    return found


@given(st.data(), exchanges)
def test_every_order_of_events_gives_the_same_turns(data: st.DataObject, made: list[Exchange]) -> None:
    """The text of what was said comes late, the end of what is heard later still: neither moves a turn."""
    events = data.draw(interleaved(Builder(made).strands))
    assert turns(translated(events)) == told(made)


@given(st.data(), exchanges)
def test_events_that_come_twice_are_told_once(data: st.DataObject, made: list[Exchange]) -> None:
    """`conversation.item.created` is the older twin of `added`; nothing that the service repeats happens twice."""
    events = data.draw(interleaved(Builder(made).strands))
    twice = [twin for event in events for twin in (event, {**event, "event_id": "another"})]
    for event in twice[1::2]:
        event["type"] = event["type"].replace("item.added", "item.created")
    assert turns(translated(twice)) == told(made)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.data(), exchanges)
def test_unknown_events_and_odd_fields_never_harm(data: st.DataObject, made: list[Exchange]) -> None:
    """New types come without notice, and a field may hold anything: what is known is still told."""
    events = data.draw(interleaved(Builder(made).strands))
    kinds = [*sorted({event["type"] for event in events}), "brand.new", "response.new.thing", "error", ""]
    names = [
        "item",
        "item_id",
        "response",
        "response_id",
        "session",
        "error",
        "transcript",
        "delta",
        "previous_item_id",
    ]
    odd = st.builds(
        lambda kind, fields: {"type": kind, **fields},
        st.sampled_from(kinds) | junk,
        st.dictionaries(st.sampled_from(names), junk, max_size=4),
    )
    place = data.draw(st.integers(0, len(events)))
    several = data.draw(st.lists(odd, min_size=1, max_size=5))
    ours = [turn for turn in turns(translated([*events[:place], *several, *events[place:]])) if turn in told(made)]
    assert all(turn in ours for turn in told(made) if turn[0] in ("tool_call", "tool_response"))


# A cut, and what can be restored


def after_cut(strands: Strands, events: list[Event], first: int, last: int) -> list[dict[str, Any]]:
    """The messages of a call whose events from `first` to `last` nobody has received."""
    messages: list[dict[str, Any]] = []
    translator = Translator(messages.append, "test")
    translator.connected()
    session = {"type": "session.created", "session": SESSION}
    translator.receive(session, 0, AT_MS)
    for event in events[:first]:
        translator.receive(event, 0, AT_MS)
    translator.cut()
    translator.connected()
    translator.receive(session, 1, AT_MS)
    answer(translator, strands, events[:last])
    for place, event in enumerate(events[last:], last + 1):
        translator.receive(event, 1, AT_MS)
        answer(translator, strands, events[:place])
    for now in range(10, 100, 10):
        translator.tick(now)
    return messages


def answer(translator: Translator, strands: Strands, past: list[Event]) -> None:
    """What the service says to each question, with what it knows by then."""
    for asked in translator.outbox.take():
        if asked["type"] != "conversation.item.retrieve":
            continue
        item = as_of(strands, asked["item_id"], past)
        if item is None:
            error = {"type": "invalid_request_error", "message": "no item", "event_id": asked["event_id"]}
            translator.receive({"type": "error", "error": error}, 1, AT_MS)
        else:
            translator.receive({"type": "conversation.item.retrieved", "item": item}, 1, AT_MS)


def as_of(strands: Strands, key: str, past: list[Event]) -> Event | None:
    """An item as the service has it after these events."""
    joined = [e for e in past if e["type"] == "conversation.item.added" and e["item"]["id"] == key]
    if not joined:
        return None
    item = strands.items[key]
    if item["type"] == "message" and item["role"] == "user":
        written = any(e["type"].endswith("transcription.completed") and e["item_id"] == key for e in past)
        part = {"type": "input_audio", "transcript": item["content"][0]["transcript"] if written else None}
        return {**item, "content": [part]}
    done = any(e["type"] == "conversation.item.done" and e["item"]["id"] == key for e in past)
    return item if done or item["type"] == "function_call_output" else joined[0]["item"]


def keys_in(event: Event) -> set[str]:
    """The items of which an event tells."""
    if event["type"] in ("input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped"):
        return set()
    found = {event["item"]["id"]} if "item" in event else set()
    found |= {item["id"] for item in event.get("response", {}).get("output", ())}
    found |= {event["item_id"]} if event.get("item_id", "").startswith("u") else set()
    return found


@given(st.data(), exchanges)
def test_a_cut_loses_nothing_that_can_be_restored_and_says_what_it_cannot(
    data: st.DataObject, made: list[Exchange]
) -> None:
    """Ids, `response.done` and `previous_item_id` bring back what they can; a gap that is left is said."""
    strands = Builder(made).strands
    events = data.draw(interleaved(strands))
    first = data.draw(st.integers(0, len(events)))
    last = data.draw(st.integers(first, len(events)))
    messages = after_cut(strands, events, first, last)

    seen = {key for event in (*events[:first], *events[last:]) for key in keys_in(event)}
    shown = [message.get("item_id") or message.get("id") for message in messages if not message.get("interim")]
    shown = [key for key in shown if key in strands.items]
    assert len(shown) == len(set(shown)), "nothing is told twice"
    assert seen <= set(shown), "what was heard of is told"
    lost = [key for key in strands.items if key not in shown]
    behind = [key for event in events[last:] for key in keys_in(event) if key not in before_cut(events[:first])]
    if lost and behind:
        assert any(message["type"] == "messages_dropped" for message in messages), "a hole is said"
    if not any(message["type"] == "messages_dropped" or message.get("late") for message in messages):
        assert shown == [key for key in strands.items if key in shown], "all is where it belongs"


@pytest.mark.parametrize("first_heard", range(1, 8))
def test_speech_of_which_the_failed_transcription_was_missed_is_shown(first_heard: int) -> None:
    """Whichever event is the first that is heard of it, or of the answer to it."""
    strands = Builder([Exchange(transcript=None)]).strands
    failed = strands.floating[0].events[0]
    events = [*strands.main[:3], failed, *strands.main[3:]]
    messages = after_cut(strands, events, 0, first_heard)
    said = [message for message in messages if message["type"] == "user_message" and not message.get("interim")]
    shown = [message["item_id"] for message in said]
    assert shown == ["u0"]


def before_cut(events: list[Event]) -> set[str]:
    return {key for event in events for key in keys_in(event)}
