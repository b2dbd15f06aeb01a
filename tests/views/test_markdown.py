"""A transcript is rendered by clients that make links, images and HTML of what they find."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from evi_mcp.quoting import quote
from evi_mcp.views import markdown, shapes

RENDERER = MarkdownIt("gfm-like", {"linkify": True, "html": True, "typographer": False})
OURS = {"heading", "paragraph", "bullet_list", "list_item", "inline", "text", "code_inline", "strong", "em"}
LURES = [
    "https://example.com/pay",
    "<https://example.com>",
    "www.example.com",
    "//example.com",
    "example.com/pay",
    "mailto:me@example.com",
    "me@example.com",
    "[pay](https://example.com)",
    "[pay][1]\n\n[1]: https://example.com",
    "![](https://example.com/x.png)",
    "<img src=https://example.com/x.png>",
    "<script>alert(1)</script>",
    "<!-- -->",
    "&lt;b&gt;",
    "`",
    "``",
    "` `` `",
    "\\`",
    '"',
    "\n# Heading\n",
    "\n\n---\n",
    "| a | b |\n| - | - |",
    "**bold** _em_ ~~gone~~",
    "$x$ @someone #1 :smile: [^1]",
    " ",
]
LINKS = 9
said = st.lists(st.sampled_from(LURES) | st.text(max_size=6), max_size=8).map("".join)


def rendered(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from rendered(token.children or [])


def turn(text: str, **fields: Any) -> shapes.Turn:
    shown: shapes.Turn = {"speaker": "user", "text": text, "at": "2026-01-02T03:04:05.678Z"}
    shown.update(fields)  # type: ignore[typeddict-item]
    return shown


@pytest.mark.parametrize("lure", LURES[:LINKS])
def test_the_renderer_makes_links_where_it_can(lure: str) -> None:
    """Else the tests below would show nothing."""
    assert "link_open" in {token.type for token in rendered(RENDERER.parse(lure))}


@given(said, said, st.booleans(), st.sampled_from(["chat-1", "www.example.com", "_a_", "me.example.com"]))
def test_nothing_that_was_said_becomes_markup(text: str, odd: str, interrupted: bool, chat_id: str) -> None:
    """A client that draws the transcript would show a caller's link, or fetch a caller's image, as if it were ours."""
    item = turn(text, expression={odd: 0.5, "Anger": 0.4, "Surprise (negative)": 0.3}, interrupted=interrupted)
    written = markdown.transcript(chat_id, {"turns": [item, turn("next")], "cursor": "e-1", "earlier_turns": 2})
    tokens = list(rendered(RENDERER.parse(written)))
    assert {token.type.removesuffix("_open").removesuffix("_close") for token in tokens} <= OURS
    code = [token.content for token in tokens if token.type == "code_inline"]
    assert code[0] == chat_id and quote(text) in code, "it reads as it was said"
    assert "example" not in "".join(token.content for token in tokens if token.type == "text")
    assert sum(token.type == "list_item_open" for token in tokens) == 2


@pytest.mark.parametrize("who", ["user", "assistant", "www.example.com", "**me**"])
def test_a_speaker_is_no_markup_either(who: str) -> None:
    """EVI names two; a service may name others."""
    written = markdown.transcript("c", {"turns": [turn("x", speaker=who)], "cursor": "e-1"})
    assert not {token.type for token in rendered(RENDERER.parse(written))} & {"link_open", "html_inline"}


def test_a_turn_without_its_beginning_says_so() -> None:
    """Our contract (section 5): what is cut says so, in every form."""
    written = markdown.transcript("c", {"turns": [turn("end", left_out=7)], "cursor": "e-1"})
    assert "(the end of it, 7 characters before are left out)" in written
