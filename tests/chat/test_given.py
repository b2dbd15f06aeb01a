"""Whose line a message is: EVI says that it was given as text, and not by whom."""

from typing import Any

import pytest

from evi_mcp.chat.given import MAX_AWAITED, GivenLines, Giver
from tests import frames
from tests.folding import FoldedChat

US: dict[str, Any] = {"by": "desk", "by_kind": "agent"}


def givers(chat: FoldedChat) -> list[tuple[str, str | None]]:
    """What was said, and by whom it was given."""
    said = (event for event in chat.log if event.type in ("user_message", "assistant_message"))
    return [(event.text or "", giver.name if (giver := chat.given.giver_of(event)) else None) for event in said]


def test_a_line_is_known_by_its_words_also_if_evi_says_it_in_parts() -> None:
    """A long line may come back as several messages (not documented)."""
    chat = FoldedChat()
    chat.caught_up()
    chat.command("assistant_input", text="One moment, please. I am here.", **US)
    chat.command("user_input", text="Hello?", **US)
    chat.receive(frames.assistant("One moment, please.", "m-1", from_text=True))
    chat.receive(frames.assistant("I am here.", "m-2", from_text=True))
    chat.receive(frames.typed("Hello?"))
    chat.receive(frames.assistant("I am here.", "m-3", from_text=True))
    assert givers(chat) == [
        ("One moment, please.", "desk"),
        ("I am here.", "desk"),
        ("Hello?", "desk"),
        ("I am here.", None),
    ]


@pytest.mark.parametrize(
    "said",
    [
        frames.assistant("Hello there.", "m-1"),  # by EVI's LLM, in the same words
        frames.assistant("Hello.", "m-1", from_text=True),
        frames.typed("Hello there."),
    ],
)
def test_what_was_said_otherwise_is_nobodys_here(said: str) -> None:
    """Other words, or the same from another side, are no proof of who gave them."""
    chat = FoldedChat()
    chat.caught_up()
    chat.command("assistant_input", text="Hello there.", **US)
    chat.receive(said)
    assert [giver for _, giver in givers(chat)] == [None]


def test_a_line_in_other_words_is_known_by_what_was_asked_for() -> None:
    """An adapter says for which line it was said."""
    chat = FoldedChat()
    chat.caught_up()
    chat.command("assistant_input", text="Refund granted.", **US)
    reworded = frames.frame(
        "assistant_message",
        id="m-1",
        message={"role": "assistant", "content": "I have granted it."},
        asked_text="Refund granted.",
        reworded=True,
        from_text=True,
    )
    chat.receive(reworded)
    assert givers(chat) == [("I have granted it.", "desk")]


def test_a_supervisors_line_is_a_turn_of_its_own() -> None:
    """In one turn with EVI's words, nobody could tell whose they are."""
    chat = FoldedChat()
    chat.caught_up()
    chat.receive(frames.assistant("Let me see.", "m-1"))
    for who, words in (("desk", "This is Kim."), ("other", "And this is Lee.")):
        chat.command("assistant_input", text=words, by=who, by_kind="agent")
        chat.receive(frames.assistant(words, f"m-{who}", from_text=True))
    turns = [(turn.text, turn.giver and turn.giver.name) for turn in chat.turns.last(9)]
    assert turns == [("Let me see.", None), ("This is Kim.", "desk"), ("And this is Lee.", "other")]


def test_what_is_remembered_of_lines_is_bounded_and_goes_with_the_log() -> None:
    """Lines that are never said, and messages that are no longer kept, cost nothing."""
    chat = FoldedChat(max_events=20)
    chat.caught_up()
    for number in range(3 * MAX_AWAITED):
        chat.command("assistant_input", text=f"line {number}", **US)
    chat.receive(frames.assistant("line 0", "m-0", from_text=True))
    for number in range(3 * MAX_AWAITED - 10, 3 * MAX_AWAITED):
        chat.receive(frames.assistant(f"line {number}", f"m-{number}", from_text=True))
    known: Any = chat.given
    assert givers(chat)[-1] == (f"line {3 * MAX_AWAITED - 1}", "desk")
    assert len(known._awaited) == MAX_AWAITED - 10 and len(known._givers) <= 20


def test_an_empty_message_is_nobodys() -> None:
    """No words begin every line."""
    lines = GivenLines()
    chat = FoldedChat()
    chat.caught_up()
    lines.see(chat.command("assistant_input", text="Hello.", **US))
    [event] = chat.receive(frames.assistant("", "m-1", from_text=True))
    lines.see(event)
    assert lines.giver_of(event) is None
    [event] = chat.receive(frames.assistant("Hello.", "m-2", from_text=True))
    lines.see(event)
    assert lines.giver_of(event) == Giver("desk", "agent")
