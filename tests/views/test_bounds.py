"""What one view may cost: everybody else waits while it is made. Counted in calls, which nobody else can disturb."""

from collections import Counter
from collections.abc import Iterator

import pytest

from evi_mcp.chat.events import Event
from evi_mcp.chat.pages import MAX_SCANNED, Filter, Page
from evi_mcp.protocol.prosody import SCORE_NAMES
from evi_mcp.views import markdown, review, structure, text
from evi_mcp.views.rendering import Rendering
from tests import frames
from tests.counting import calls_of
from tests.views.records import record_of

SCORES = {name: 0.01 * number for number, name in enumerate(SCORE_NAMES)}
HOSTILE = "\U000e0041\u202e"


def speech(text: str, seq: int = 1) -> Event:
    return Event(seq=seq, chat_id="c", at=1.0, type="user_message", speaker="user", text=text)


@pytest.mark.parametrize("said", [HOSTILE, "a", "я", '"'])
def test_an_event_far_larger_than_a_page_costs_little_to_show(said: str) -> None:
    """Text of 256 Ki characters, in which each takes ten in quotes, is cut to fit in a few steps, none of them for each
    character."""
    item = speech(said * (256 * 1024 // len(said)))
    small = Rendering(with_chat_id=False)
    small.fit(speech(said * 5000), 500)  # what is remembered of characters is there
    rendering = Rendering(with_chat_id=False)
    assert calls_of(lambda: rendering.fit(item, 50_000)) < 1000
    assert 49_000 < rendering.length(item) <= 50_000


def test_a_page_of_hostile_words_costs_a_few_calls_for_each_event() -> None:
    """50,000 characters of results are shown at once, however they are made up."""
    items = [speech(HOSTILE * 12, seq) for seq in range(1, 201)]
    rendering = Rendering(with_chat_id=False)

    def page() -> None:
        assert sum(map(rendering.length, items)) < 50_000
        rendering.structures(items)
        assert len(list(rendering.lines(items))) == 200

    assert calls_of(page) < 100 * len(items)


def test_a_transcript_looks_only_at_the_turns_that_it_shows() -> None:
    """2,000 turns of 64 KiB each are 128 MiB, and a page holds none of them whole."""
    said = HOSTILE * (16 * 1024)
    record, cursors = record_of("c", [frames.user(said, 1), *(turn(number, said) for number in range(200))])
    shown = []
    calls = calls_of(lambda: shown.append(text.transcript_within(record, cursors, 2000, 50_000)))
    assert calls < 1000
    [transcript] = shown
    assert len(transcript["turns"]) == 1 and transcript["earlier_turns"] == 200
    written = text.transcript(transcript)
    assert 45_000 < len(written) <= 50_000
    assert calls_of(lambda: markdown.transcript("c", transcript)) < 100


def turn(number: int, said: str) -> str:
    return frames.user(said, number * 10) if number % 2 else frames.assistant(said, f"m-{number}")


def test_a_transcript_of_short_turns_costs_a_few_calls_for_each() -> None:
    """As many as fit are shown, each with its expression."""
    record, cursors = record_of("c", [turn(number, "Yes.") for number in range(2000)])
    shown = []
    calls = calls_of(lambda: shown.append(text.transcript_within(record, cursors, 2000, 50_000)))
    assert len(shown[0]["turns"]) > 500 and calls < 100 * len(shown[0]["turns"])


def test_the_newest_events_are_found_without_a_look_at_all_the_others() -> None:
    """A log may hold ten million; one page looks at some thousands."""
    looked = []

    def hidden() -> Iterator[Event]:
        for seq in range(10 * MAX_SCANNED, 0, -1):
            looked.append(seq)
            yield Event(seq=seq, chat_id="c", at=1.0, type="audio_output")

    rendering = Rendering(with_chat_id=False)
    assert rendering.before_the_newest(hidden(), Filter(), 50, 50_000) == 9 * MAX_SCANNED
    assert len(looked) == MAX_SCANNED + 1
    newest_first = [speech("word", seq) for seq in range(1000, 0, -1)]
    assert rendering.before_the_newest(iter(newest_first), Filter(), 50, 50_000) == 950
    assert rendering.before_the_newest(iter(newest_first[:20]), Filter(), 50, 50_000) == 0
    assert rendering.before_the_newest(iter([speech("x" * 60_000, 7), speech("y", 6)]), Filter(), 50, 50_000) == 6


def test_a_page_names_only_some_of_very_many_types_that_it_leaves_out() -> None:
    """A service may give each message a type of its own; what was left out is still counted, all of it."""
    record, cursors = record_of("c", [frames.metadata()])
    omitted = Counter({f"type-{number}": 1 for number in range(5000)}) + Counter(audio_output=7)
    shown = structure.page(Page(omitted=omitted), [], [record], cursors.at(1))["omitted"]
    assert len(shown) == structure.MAX_TYPES + 1 and sum(shown.values()) == 5007 and shown["audio_output"] == 7
    few = Counter(audio_output=2, new_type=1)
    assert structure.page(Page(omitted=few), [], [record], cursors.at(1))["omitted"] == few


def test_a_chat_in_a_list_costs_nothing_of_what_was_said_in_it() -> None:
    """A list may have a thousand of them."""
    record, cursors = record_of("c", [turn(number, "word " * 1000) for number in range(50)])
    structure.summary(record, cursors, 5.0)
    assert calls_of(lambda: structure.summary(record, cursors, 5.0)) < 40


def test_a_review_writes_only_what_it_shows() -> None:
    """2,000 utterances of 64 KiB are no reason to write more than a page of them."""
    said = HOSTILE * (16 * 1024)
    record, cursors = record_of("c", [turn(number, said) for number in range(1, 201)])
    shown = []
    assert calls_of(lambda: shown.append(review.review(record, cursors, 5.0, 8000))) < 5000
    assert shown[0]["left_out"] + len(shown[0]["events"]) == 201 and len(review.text(shown[0])) <= 8000
    record, cursors = record_of("c", [turn(number, "Yes.") for number in range(1, 5001)])
    assert calls_of(lambda: shown.append(review.review(record, cursors, 5.0, 50_000))) < 150_000
    assert shown[1]["not_kept"] is True and shown[1]["utterances"] == review.MAX_ITEMS
