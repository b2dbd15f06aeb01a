"""All chats together: ids, limits, and what is forgotten."""

import pytest

from evi_mcp.errors import InvalidChatId
from evi_mcp.hub.chats import ChatIdTaken, Chats, Limits, TooManyChats
from evi_mcp.hub.closes import Close
from tests.hub.rig import AT_MS, Rig, line

OVER = Close(1000, "over")


def test_an_id_is_given_once_among_the_living() -> None:
    """Two live chats with one id could not be told apart; an ended one makes way."""
    chats = Rig().chats
    first = chats.open(started_ms=AT_MS, chat_id="mine")
    with pytest.raises(ChatIdTaken):
        chats.open(started_ms=AT_MS, chat_id="mine")
    chats.end(first, "USER_ENDED", OVER, AT_MS)
    second = chats.open(started_ms=AT_MS, chat_id="mine")
    assert chats.get("mine") is second and list(chats) == [second]


@pytest.mark.parametrize("chat_id", ["..", "a/b", "x" * 129, "ä"])
def test_an_id_that_would_change_an_address_is_refused(chat_id: str) -> None:
    """Contract, section 3."""
    with pytest.raises(InvalidChatId):
        Rig().chats.open(started_ms=AT_MS, chat_id=chat_id)


def test_the_number_of_live_chats_is_limited() -> None:
    """One that ends makes room."""
    chats = Rig(Limits(live_chats=1)).chats
    first = chats.open(started_ms=AT_MS)
    with pytest.raises(TooManyChats):
        chats.open(started_ms=AT_MS)
    chats.end(first, "USER_ENDED", OVER, AT_MS)
    chats.open(started_ms=AT_MS)


def test_ended_chats_are_forgotten_oldest_first_and_live_ones_never() -> None:
    """Every buffer is bounded."""
    chats = Rig(Limits(ended_chats=2)).chats
    live = chats.open(started_ms=AT_MS)
    ended = [chats.open(started_ms=AT_MS) for _ in range(4)]
    for chat in ended:
        chats.end(chat, "USER_ENDED", OVER, AT_MS)
    assert list(chats) == [live, *ended[2:]]


def fill(chats: Chats, count: int, size: int) -> None:
    for chat in [chats.open(started_ms=AT_MS) for _ in range(count)]:
        for _ in range(10):
            chats.publish(chat, line("x" * (size // 10)), AT_MS)


def test_when_all_histories_are_too_large_ended_chats_go_first() -> None:
    """The REST history of what is over is worth less than what is said now."""
    chats = Rig(Limits(all_bytes=50_000)).chats
    fill(chats, 2, 20_000)
    ended = next(iter(chats))
    chats.end(ended, "USER_ENDED", OVER, AT_MS)
    fill(chats, 1, 20_000)
    assert chats.get(ended.chat_id) is None
    assert all(not chat.history.dropped for chat in chats)


def test_when_live_histories_are_too_large_the_largest_is_halved_and_says_so() -> None:
    """No chat can take the memory of the others; what is dropped is counted in its replay."""
    chats = Rig(Limits(all_bytes=100_000)).chats
    fill(chats, 3, 10_000)
    fill(chats, 1, 200_000)
    assert sum(chat.history.size for chat in chats) <= 100_000
    *small, large = chats
    assert not any(chat.history.dropped for chat in small) and large.history.dropped["assistant_message"]


def test_whoever_asked_is_told_of_chats_that_come_and_go() -> None:
    """A list of active chats can be kept up to date without asking again and again."""
    rig = Rig()
    told: list[int] = []
    rig.chats.listeners.append(lambda: told.append(len(rig.chats.live_chats)))
    rig.bot("a").write({"type": "end"})
    gone = rig.bot("b")
    gone.cut()
    rig.wait(61)
    gone.resume()
    assert told == [1, 0, 1, 0, 1]
