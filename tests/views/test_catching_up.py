"""A chat that is live and may still be in its replay says so, in every view (our contract, section 3)."""

from pydantic import TypeAdapter

from evi_mcp.chat.pages import Page
from evi_mcp.chat.record import ChatRecord
from evi_mcp.views import shapes, structure, text
from tests import frames
from tests.views.records import record_of


def test_a_chat_that_catches_up_says_so_alone_and_in_a_list() -> None:
    """Who reads a call that may have been answered long ago must not take it for one that waits."""
    for live in (True, False):
        record, cursors = record_of("c", [frames.metadata(), frames.tool_call()], live=live)
        chat, summary = structure.chat(record, cursors, 5.0), structure.summary(record, cursors, 5.0)
        TypeAdapter(shapes.Chat).validate_python(chat)
        TypeAdapter(shapes.ChatSummary).validate_python(summary)
        assert chat.get("catching_up") == summary.get("catching_up") == (None if live else True)
        said = text.chat(chat), text.chats({"chats": [summary]}, "attached")
        assert [", catching up" in words for words in said] == [not live] * 2


def test_a_page_says_which_of_its_chats_catch_up() -> None:
    """The states of a page are what a guarded command will go by."""
    behind, cursors = record_of("behind", [frames.metadata()], live=False)
    up, _ = record_of("up", [frames.metadata()])

    def written(*records: ChatRecord) -> str:
        shown = structure.page(Page(), [], list(records), cursors.at(1))
        TypeAdapter(shapes.EventPage).validate_python(shown)
        assert shown.get("catching_up") == (["behind"] if behind in records else None)
        return text.page(shown, [], types=[]).splitlines()[0].partition("; cursor")[0]

    assert written(behind) == "0 events; live, catching up"
    assert written(behind, up) == "0 events; behind is live, catching up"
    assert written(up) == "0 events"
    many = [record_of(f"c-{number}", [frames.metadata()], live=False)[0] for number in range(30)]
    shown = structure.page(Page(), [], [up, *many], cursors.at(1))
    assert len(shown["state"]) == 30, "of very many, those that are live and know all are not named"
    assert "30 chats live, catching up" in text.page(shown, [], types=[])
