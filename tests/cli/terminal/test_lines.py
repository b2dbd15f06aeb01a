"""What a person sees of an event: all that matters, and nothing in it that acts."""

import io
import unicodedata
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.cli.terminal import Line, Lines, Screen
from evi_mcp.cli.terminal.screen import INDENT
from evi_mcp.protocol.cutting import MAX_TEXT

AT = "2026-01-02T03:04:05.678Z"
NASTY = st.text(
    st.sampled_from("\\\n\r\t[]/red 1{}\u202e\u200b\u2028\x1b\x07\x00\x9b\U000e0041\ufe0f\ud800aé你👍"), max_size=300
)
KINDS = st.sampled_from(
    "user_message assistant_message assistant_prosody tool_call tool_response tool_error command chat_state"
    " session_settings error protocol_fault user_interruption new_type \x1b[31m".split()
)
FIELDS = ("text", "name", "parameters", "content", "error", "code", "slug", "reason", "command", "by", "state")


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def event(kind: str, **fields: Any) -> dict[str, Any]:
    speaker = {"user_message": "user", "assistant_message": "assistant", "assistant_prosody": "assistant"}.get(kind)
    return {"seq": 1, "at": AT, "type": kind, **({"speaker": speaker} if speaker else {}), **fields}


def shown(*events: dict[str, Any], file: io.StringIO | None = None, width: int | None = None) -> list[str]:
    """What stands on the screen, without the times."""
    file = file or io.StringIO()
    screen, lines = Screen(file), Lines()
    if width:
        screen.console.width = width
    for item in events:
        screen.show(lines.of(item))
    return [line[9:].strip() for line in file.getvalue().split("\n")[:-1]]


@given(KINDS, st.fixed_dictionaries(dict.fromkeys(FIELDS, NASTY)), NASTY, st.booleans())
def test_nothing_of_a_chat_acts_on_a_terminal(kind: str, fields: dict[str, str], odd: str, on_terminal: bool) -> None:
    """Our contract (section 7): whatever field it comes in, no character of it moves the cursor, hides or reverses."""
    item = event(kind, **fields, expression={odd: 0.5}, settings={odd: odd}, message_id=odd, tool_call_id=odd)
    lines = list(Lines().of(item))
    said = "".join(line.when + line.label + line.body.plain for line in lines)
    assert all(unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for char in said)
    file = Terminal() if on_terminal else io.StringIO()
    screen = Screen(file)
    screen.console.no_color = True
    screen.show(lines)
    assert "\x1b[31m" not in file.getvalue() and (on_terminal or "\x1b" not in file.getvalue())


@given(NASTY, st.integers(30, 90))
def test_words_never_stand_where_the_time_of_a_line_does(said: str, width: int) -> None:
    """Else a caller who pads with blanks makes up a line of the assistant's, or a change of state, on a terminal."""
    file = Terminal()
    screen = Screen(file)
    screen.console.width, screen.console.no_color = width, True
    screen.show(Lines().of(event("user_message", text=said + " 14:03:09 assistant  Your card number, please." * 3)))
    first, *rest = file.getvalue().split("\n")[:-1]
    assert "user" in first
    assert rest and all(line.startswith(" " * INDENT) for line in rest)


def test_words_that_look_like_markup_are_shown_as_they_were_said() -> None:
    """Speech is no markup of the library that draws the lines, and ordinary quotes need no noise."""
    said = 'He said "[red]stop[/red] :smile:" \\o/ [link=http://x]here'
    assert shown(event("user_message", text=said)) == [f"user  {said}"]


def test_all_that_was_said_is_shown_and_what_else_is_long_is_cut() -> None:
    """A person follows the words; a file in a tool's answer would push them off the screen."""
    [line] = shown(event("user_message", text="word " * (MAX_TEXT // 5)))
    assert line.count("word") == MAX_TEXT // 5
    [line] = shown(event("tool_response", tool_call_id="call_1", content="x" * 1000))
    assert line == f"answer  to call_1: {'x' * 400} (+600 characters)  (call_1)"


def test_a_voice_that_comes_late_says_whose_it_is() -> None:
    """EVI sends an assistant's expression after the message: it is shown once, and where it belongs."""
    voice = event("assistant_prosody", message_id="m-1", expression={"Joy": 0.5})
    message, other = (event("assistant_message", text=f"I am {id}.", message_id=id) for id in ("m-1", "m-2"))
    assert shown(message, voice) == ["assistant  I am m-1.", "Joy 0.5"]
    assert shown(message, other, voice, voice)[2:] == ['voice of "I am m-1.": Joy 0.5']
    assert shown(message | {"expression": {"Joy": 0.5}}, voice) == ["assistant  I am m-1.", "Joy 0.5"]
    assert shown(voice) == ["voice of an earlier message: Joy 0.5"]


def test_what_agents_and_tools_did_is_told_by_name() -> None:
    """An id says nothing to a person: the answer names the tool that was asked."""
    call = event("tool_call", name="parcel", parameters='{"a":1}', tool_call_id="c1", response_required=True)
    assert shown(
        call,
        event("command", command="tool_response", tool_call_id="c1", content="Lyon", by="kim"),
        event("tool_error", tool_call_id="c1", error="late", content="gone"),
        event("command", command="pause_assistant_message"),
        event("command", command="session_settings", settings={"voice_id": "v"}, by="kim"),
        event("error", code="E1", slug="bad", error="not good"),
        event("session_settings", settings={"system_prompt": "short"}),
        event("new_type", content='{"a":1}'),
        event("user_interruption"),
        event("assistant_end"),
    ) == [
        'tool call  parcel {"a":1}  (needs an answer, c1)',
        "agent  tool_response to parcel Lyon  (by kim)",
        "answer  to parcel: failed (late): gone  (c1)",
        "agent  pause_assistant_message",
        'agent  session_settings {"voice_id": "v"}  (by kim)',
        "error  E1 bad: not good",
        'settings  {"system_prompt": "short"}',
        'event  new_type {"a":1}',
        "user  cuts in",
    ]


def test_what_is_being_said_is_rewritten_in_one_row() -> None:
    """Only one row can be taken back for sure: of a long one, the newest words are shown."""
    file = Terminal()
    screen, lines = Screen(file), Lines()
    screen.console.width, screen.console.no_color = 40, True
    screen.show(lines.of(event("user_message", text="one two three four 你好你好你好你好", interim=True)))
    assert "…" in file.getvalue() and "你好你好\x1b" in file.getvalue() and "\n" not in file.getvalue()
    screen.show([Line("", "", next(lines.of(event("assistant_message", text="Yes."))).body)])
    assert file.getvalue().count("你好你好\x1b") == 2, "it still stands below what came in between"
    screen.show(lines.of(event("user_message", text="one two")))
    assert file.getvalue().count("\r\x1b[2K") == 2 and file.getvalue().endswith("one two\n")
