"""Whatever is missing in an event, and whatever stands in it, every view shows it in one line, in the room there is.

What a service sends has holes, types that only look like ours come from it too, and the fields of an event are filled
in many places: no combination of them may cost an agent a page, or a person the end of `watch`.
"""

import io
import json
from typing import Any, get_args, get_type_hints

from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from evi_mcp.chat.events import Event
from evi_mcp.cli.terminal import Lines, Screen
from evi_mcp.protocol.messages import KNOWN_TYPES
from evi_mcp.quoting import is_invisible
from evi_mcp.views import shapes, structure
from evi_mcp.views.rendering import Rendering

TEXT = st.text(st.sampled_from('a "\\\n\r\t\u202e\u200b\U000e0041\x1b\ud800`[]{}'), max_size=80) | st.text(
    "x", max_size=900
)
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "type": st.sampled_from([*KNOWN_TYPES, "chat_state", "command", "protocol_fault", "service:chat_state"]) | TEXT,
    "speaker": st.sampled_from(["user", "assistant"]) | TEXT,
    "at": st.floats(0, 4e9),
    "happened_at": st.floats(0, 4e9),
    "seq": st.integers(1, 10**12),
    "chat_id": st.text("abc-1", min_size=1, max_size=20),
    "scores": st.dictionaries(TEXT | st.sampled_from(["Anger", "Joy"]), st.floats(-1, 1), max_size=5),
    "settings": st.dictionaries(TEXT, DATA, max_size=4),
    "supports": st.lists(TEXT, max_size=3).map(tuple),
    "state": st.sampled_from(["live", "ended"]) | TEXT,
}
BY_KIND: dict[Any, st.SearchStrategy[Any]] = {str: TEXT, bool: st.booleans(), int: st.integers(-5, 10**9)}
REQUIRED = {"type", "at", "seq", "chat_id"}


def strategy_of(field: str, kind: Any) -> st.SearchStrategy[Any]:
    values = VALUES[field] if field in VALUES else BY_KIND[next(part for part in get_args(kind) if part in BY_KIND)]
    return values if field in REQUIRED else st.none() | values


EVENTS = st.fixed_dictionaries({field: strategy_of(field, kind) for field, kind in get_type_hints(Event).items()}).map(
    lambda fields: Event(**fields)
)
SHAPE: TypeAdapter[Any] = TypeAdapter(shapes.Event)


@given(EVENTS, st.booleans(), st.integers(500, 900))
def test_every_view_shows_any_event_in_one_line(item: Event, whole: bool, room: int) -> None:
    """One event is one line, or a reader could take what was said for the next event."""
    rendering = Rendering(with_chat_id=whole, in_full=whole)
    length = rendering.length(item)
    for _ in range(2):
        [shown], [line] = rendering.structures([item]), list(rendering.lines([item]))
        assert len(line) + 1 <= length
        assert not [char for char in line if is_invisible(char)], line
        assert line.startswith(f"[{item.seq}")
        SHAPE.validate_python(shown, strict=True)
        json.dumps(shown)
        assert ("expression" in shown) == bool(item.scores)
        rendering.fit(item, room)  # and then cut
        length = rendering.length(item)


@given(st.lists(EVENTS, max_size=4))
def test_a_person_sees_any_event(items: list[Event]) -> None:
    """An event that nobody expected must not end `watch`."""
    lines, file = Lines(), io.StringIO()
    screen = Screen(file)
    for item in items:
        screen.show(lines.of(structure.event(item, with_chat_id=False)))
    assert not [char for char in file.getvalue() if is_invisible(char) and char != "\n"]


@given(st.text('a"\\\n\u202e\U000e0041', min_size=900, max_size=3000), st.integers(300, 800))
def test_an_event_is_cut_to_the_room_there_is_and_no_further(said: str, room: int) -> None:
    """Our contract (section 5): a cut answer says so; what is left out is counted in characters of what was said."""
    item = Event(seq=1, chat_id="c", at=1.0, type="user_message", speaker="user", text=said, content="short")
    rendering = Rendering(with_chat_id=False)
    rendering.fit(item, room)
    [shown] = rendering.structures([item])
    assert room - 100 <= rendering.length(item) <= room
    assert said.startswith(shown["text"]) and len(shown["text"]) + shown["left_out"] == len(said)
    assert shown["content"] == "short"


def test_settings_that_are_too_long_are_left_out_as_a_whole() -> None:
    """Half a prompt would be taken for the prompt."""
    item = Event(seq=1, chat_id="c", at=1.0, type="session_settings", settings={"system_prompt": "p" * 5000})
    rendering = Rendering(with_chat_id=False)
    rendering.fit(item, 500)
    assert rendering.length(item) <= 500 and "too long; raise max_chars" in next(iter(rendering.lines([item])))
