"""A chat as a fuzzer writes it, one frame a line, and what must hold of the record and of every view of it.

A line is a text frame as a socket would give it: a fault, if it is not UTF-8. An empty line breaks the connection; a
line that begins with `!` is a binary frame, one with `+`, `++` or `+++` a frame made large, very large, or very large
with many values. All of it goes through `reading.read`, the identities, the reader, the record and the views.
"""

import json
import re
import unicodedata
from typing import Any

from pydantic import TypeAdapter

from evi_mcp.chat.events import Event
from evi_mcp.chat.memory import CHAT_BYTES
from evi_mcp.chat.pages import Filter, Start, read_page
from evi_mcp.chat.record import ChatRecord
from evi_mcp.errors import UnusableAudio
from evi_mcp.ledger.cursors import Cursors
from evi_mcp.protocol.codec import fault
from evi_mcp.protocol.fast_decode import FastMessage
from evi_mcp.protocol.identity import Identities, Identity
from evi_mcp.protocol.messages import ProtocolFault
from evi_mcp.protocol.reading import LARGE_FRAME, VERY_LARGE_FRAME, read
from evi_mcp.protocol.redaction import Mask
from evi_mcp.times import Moment
from evi_mcp.views import markdown, review, shapes, structure, text
from evi_mcp.views.rendering import Rendering
from evi_mcp.views.wav import join
from tests.folding import FoldedChat

CHAT = "chat-1"
SECRET = "sk-Fuzz/0123+456=="
"""A secret of this server that the service repeats wherever it likes."""
MAX_EVENTS, MAX_AUDIO = 200, 20_000
NOW = 1_762_430_100.0

_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_TOLD = re.compile(r"\[\d+\*?(?: \+?[\d:]+)?\] ")
_SHAPES: dict[Any, TypeAdapter[Any]] = {
    shape: TypeAdapter(shape)
    for shape in (
        *(shapes.Chat, shapes.ChatSummary, shapes.EventPage, shapes.Expressions),
        *(shapes.ToolCallList, shapes.Transcript, review.Review),
    )
}


Frame = str | bytes | ProtocolFault

MOST_LARGE = 5
"""Lines that are made large in one script: each costs as much as a thousand others."""
_PADDING = (b"", b"x" * LARGE_FRAME, b"x" * VERY_LARGE_FRAME, b'x", "' * VERY_LARGE_FRAME)


def connections(script: bytes) -> list[list[Frame]]:
    """The frames of a script, connection by connection."""
    found: list[list[Frame]] = [[]]
    large = 0
    for line in script.split(b"\n"):
        if not line:
            found.append([])
            continue
        binary, line = line.startswith(b"!"), line.removeprefix(b"!")
        level = min(len(line) - len(line.lstrip(b"+")), len(_PADDING) - 1)
        line = line[level:]
        large += level > 0
        if level and large <= MOST_LARGE:
            line = line.removesuffix(b"}") + b', "much": ["' + _PADDING[level] + b'"]}'
        found[-1].append(line if binary else _text(line))
    return found


def _text(line: bytes) -> str | ProtocolFault:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return fault(line, "text that is not UTF-8", binary=False)


_IDENTITIES = Identities()


def identity(frame: Frame) -> Identity:
    """What makes a frame the same as another one."""
    message = read(frame, Mask())
    return _IDENTITIES.of_fast(message) if isinstance(message, FastMessage) else _IDENTITIES.of(message)


def run(script: bytes) -> ChatRecord:
    """Plays a script and checks all that can be seen of it.

    Raises:
        AssertionError: Something that we promise does not hold.
        Exception: It broke.
    """
    mask = Mask([SECRET, "named secret"])
    chat = FoldedChat(chat_id=CHAT, max_events=MAX_EVENTS, max_audio=MAX_AUDIO, at=NOW, mask=mask)
    lifecycle = chat.reader.lifecycle
    now, told = NOW, 0
    for frames in connections(script):
        chat.connect_again()
        chat.append(chat.reader.changed(lifecycle.caught_up(), Moment(now, now)), now)
        for place, frame in enumerate(frames):
            now += 0.1
            if place % 8 == 7:
                chat.caught_up()
            assert identity(frame) == identity(frame), "a frame is the same as itself"
            for event in chat.receive(frame, now):
                assert event.seq > told, "numbers grow"
                told = event.seq
        chat.caught_up()
        chat.append(chat.reader.changed(lifecycle.closed(None, ""), Moment(now, now)), now)
    _check_bounds(chat.record)
    _check_views(chat.record, chat.ledger.cursors, now)
    return chat.record


def replayed_as_it_was(script: bytes) -> None:
    """A whole chat on one connection, then the same on the next: nothing of it is new, whatever it is."""
    frames = [frame for connection in connections(script) for frame in connection]
    chat = FoldedChat(chat_id=CHAT, max_events=MAX_EVENTS, at=NOW)
    for again in (False, True):
        chat.connect_again()
        for frame in frames:
            events = chat.receive(frame, NOW)
            assert not (again and events), f"logged twice: {events}"
        chat.caught_up()


def _check_bounds(record: ChatRecord) -> None:
    assert len(record.log) <= MAX_EVENTS and record.audio.size <= MAX_AUDIO
    assert record.kept_bytes <= CHAT_BYTES or len(record.log) == 1


def _check_views(record: ChatRecord, cursors: Cursors, now: float) -> None:
    for length in (600, 50_000):
        _check_page(record, cursors, length)
    _sound(shapes.Chat, shown := structure.chat(record, cursors, now), text.chat(shown))
    summary = structure.summary(record, cursors, now)
    _sound(shapes.ChatSummary, summary, text.chats({"chats": [summary]}, "attached"))
    calls = structure.tool_calls(list(record.tool_calls), now, with_chat_id=True)
    _sound(shapes.ToolCallList, calls, text.tool_calls(calls, "all"))
    for chars in (600, 50_000):
        said = text.transcript_within(record, cursors, 2000, chars)
        _sound(shapes.Transcript, said, text.transcript(said) + markdown.transcript(CHAT, said))
        looked_back = review.review(record, cursors, now, chars)
        _sound(review.Review, looked_back, written := review.text(looked_back))
        assert len(written) <= chars
    for speaker in ("user", "assistant"):
        voice = structure.expressions(record, speaker, 50, 48)
        _sound(shapes.Expressions, voice, text.expressions(voice))
    for message_id in list(record.audio):
        try:
            wav = join(record.audio.chunks(message_id) or [])
        except UnusableAudio as error:
            assert str(error).encode()
        else:
            assert wav.wav[:4] == b"RIFF" and len(wav.wav) >= 44 and json.dumps(wav.notes).encode()


def _check_page(record: ChatRecord, cursors: Cursors, max_chars: int) -> None:
    """All types there are, page by page: each event once and in order, one line each."""
    types = frozenset(event.type for event in record.log)
    after, seen = 0, list[int]()
    while True:
        rendering = Rendering(with_chat_id=False, records=[record])
        page = read_page(
            [record],
            Start(lambda _, after=after: after, cursors.last_seq),  # type: ignore[misc]  # mypy cannot infer the default
            Filter(types),
            limit=50,
            max_chars=max_chars,
            length=rendering.length,
        )
        items: list[Event] = page.events
        if len(items) == 1:
            rendering.fit(items[0], max_chars)
        shown = structure.page(page, rendering.structures(items), [record], cursors.at(page.seq))
        written = text.page(shown, rendering.lines(items), types=[])
        _sound(shapes.EventPage, shown, written)
        assert sum(map(bool, map(_TOLD.match, written.split("\n")))) == len(items), "one line for each event"
        seen += [event.seq for event in page.events]
        if not page.more:
            break
        assert page.seq > after, "a page goes on"
        after = page.seq
    assert seen == [event.seq for event in record.log]


def _sound(shape: Any, shown: Any, written: str) -> None:
    """What a client gets: of the promised shape, JSON, UTF-8, printable, and without a secret."""
    _SHAPES[shape].validate_python(shown)
    wire = json.dumps(shown, ensure_ascii=False, allow_nan=False)
    for said in (wire, written):
        said.encode()
        assert SECRET not in said and "named secret" not in said, "a secret is never shown"
    invisible = {unicodedata.category(character) for character in written.replace("\n", "")} & _INVISIBLE
    assert not invisible, "nothing invisible in a text"
