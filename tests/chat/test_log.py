"""The log, its cursors and its pages, without any I/O."""

from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.chat.events import Event
from evi_mcp.chat.log import EventLog
from evi_mcp.chat.pages import Filter, Gap, GapReason, Page, Start, read_page


def event(seq: int, kind: str = "user_message", text: str = "", chat_id: str = "a") -> Event:
    return Event(seq=seq, chat_id=chat_id, at=0.0, type=kind, text=text)


def filled(seqs: Iterator[int] | range | list[int], max_events: int = 1000) -> EventLog:
    log = EventLog(max_events)
    for seq in seqs:
        log.append(event(seq))
    return log


@given(st.integers(0, 400), st.integers(1, 50), st.integers(0, 420))
def test_the_newest_events_are_kept_in_order_and_read_from_anywhere(count: int, most: int, after: int) -> None:
    """Our contract (section 4): oldest dropped first; a page's place costs and changes nothing."""
    log = filled(range(1, count + 1), most)
    kept = list(range(max(1, count - most + 1), count + 1))
    assert [item.seq for item in log] == kept
    assert [item.seq for item in log.after(after)] == [seq for seq in kept if seq > after]
    assert (log.first.seq if log.first else None) == (kept[0] if kept else None)
    assert log.dropped_seq == max(0, count - most)
    assert (len(log), log.appended) == (len(kept), count)


@dataclass
class Chat:
    chat_id: str
    log: EventLog
    unknown_before: int = 0
    forgotten_to: int = 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["shown", "audio_output"]))), st.integers(1, 7))
def test_pages_of_many_chats_together_hold_every_event_once_in_order(
    happened: list[tuple[str, str]], limit: int
) -> None:
    """Our contract (section 4): one cursor reads all chats; pages neither overlap nor leave a hole."""
    logs = {name: EventLog(1000) for name in "abc"}
    for seq, (name, kind) in enumerate(happened, 1):
        logs[name].append(event(seq, kind, chat_id=name))
    position, seen, omitted, more = 0, list[int](), 0, True
    while more:
        page = page_of(list(logs.values()), position, limit=limit, upto=len(happened))
        assert len(page.events) <= limit
        seen += [item.seq for item in page.events]
        omitted += sum(page.omitted.values())
        position, more = page.seq, page.more
    assert seen == [seq for seq, (_, kind) in enumerate(happened, 1) if kind == "shown"]
    assert omitted == len(happened) - len(seen)
    assert position == len(happened)


@given(st.lists(st.integers(0, 60), max_size=30), st.integers(1, 100))
def test_a_page_is_never_longer_than_asked_for_but_always_goes_on(sizes: list[int], room: int) -> None:
    """Our contract (section 4): one event larger than the page comes alone, or the reader would be stuck."""
    log = EventLog(1000)
    for seq, size in enumerate(sizes, 1):
        log.append(event(seq, text="x" * size))
    position, seen, more = 0, 0, True
    while more:
        page = page_of([log], position, max_chars=room, upto=len(sizes))
        length = sum(len(item.text or "") for item in page.events)
        assert length <= room or len(page.events) == 1
        assert page.events or not page.more
        seen, position, more = seen + len(page.events), page.seq, page.more
    assert seen == len(sizes)


def page_of(
    logs: list[EventLog],
    after: int,
    *,
    limit: int = 50,
    max_chars: int = 10**6,
    upto: int = 0,
    restarted: bool = False,
    types: frozenset[str] | None = None,
) -> Page:
    chats = [Chat(str(number), log) for number, log in enumerate(logs)]
    return read_page(
        chats,
        Start(lambda _: after, upto, restarted),
        Filter(types),
        limit=limit,
        max_chars=max_chars,
        length=lambda item: len(item.text or ""),
    )


def test_a_reader_whose_events_were_dropped_is_told_and_one_who_had_them_is_not() -> None:
    """Numbers grow over all chats, so a hole in them is no loss; what was dropped is."""
    log = filled([10, 20, 30, 40], max_events=2)
    assert page_of([log], 5).gap == Gap(GapReason.EXPIRED, 30)
    assert page_of([log], 19).gap == Gap(GapReason.EXPIRED, 30)
    assert page_of([log], 20).gap is None
    assert page_of([log], 29).gap is None
    assert page_of([log], 0, restarted=True).gap == Gap(GapReason.RESTARTED, 30)
    assert page_of([EventLog(5)], 0, restarted=True).gap == Gap(GapReason.RESTARTED, None)


def test_what_a_reader_would_not_have_seen_is_no_gap() -> None:
    """Audio is dropped all the time; a page that leaves it out has lost nothing."""
    log = EventLog(2)
    for seq in range(1, 6):
        log.append(event(seq, "audio_output"))
    log.append(event(6))
    assert page_of([log], 0).gap is None
    assert page_of([log], 0, types=frozenset({"audio_output"})).gap == Gap(GapReason.EXPIRED, 5)
