"""Cues for a client that does not read: counted within bounds, and told in numbers all the same."""

from collections import Counter

from evi_mcp.server.channel import MAX_CHATS, MAX_COUNTED, OTHERS, count_in, cue_text


def test_what_a_client_has_yet_to_be_told_is_bounded() -> None:
    """Chats come and go for days while it does not read: their number must not fill the memory, and nothing is lost."""
    counts: dict[str, Counter[str]] = {}
    for number in range(5 * MAX_COUNTED):
        count_in(counts, f"chat-{number}", "user_message")
        count_in(counts, "chat-0", "tool_call")
    assert len(counts) == MAX_COUNTED + 1
    assert sum(kinds["user_message"] for kinds in counts.values()) == 5 * MAX_COUNTED
    assert counts["chat-0"]["tool_call"] == 5 * MAX_COUNTED
    assert counts[OTHERS] == {"user_message": 4 * MAX_COUNTED}
    text = cue_text(counts)
    assert text.startswith("chat-0: 1 user_message, 5000 tool_call; ")
    assert f"and {MAX_COUNTED + 1 - MAX_CHATS} more chats" in text
