"""Calls as the reference allows them: a main strand in the service's order, and what may come anywhere behind a point.

What floats: the text of what the caller said (anywhere after its audio was committed), the end of what is heard, and
the two signs of an interruption, of which either may be first.
"""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

Event = dict[str, Any]


@dataclass
class Exchange:
    """What the caller says, and what the assistant makes of it."""

    transcript: str | None = "hm"
    lines: int = 1
    tool: bool = False
    cut: bool = False
    """Whether the caller's next words interrupt it."""


@dataclass
class Floating:
    """Events, in order, that come somewhere behind a place of the main strand, and before another."""

    events: list[Event]
    after: int
    before: int | None = None


@dataclass
class Strands:
    """A call. `items` is the conversation as the service keeps it, in order."""

    main: list[Event] = field(default_factory=list)
    floating: list[Floating] = field(default_factory=list)
    items: dict[str, Event] = field(default_factory=dict)


exchanges = st.lists(
    st.builds(
        Exchange,
        transcript=st.one_of(st.none(), st.just("")) | st.text("ab c", min_size=1, max_size=6).filter(str.strip),
        lines=st.integers(1, 2),
        tool=st.booleans(),
        cut=st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


class Builder:
    """Writes a call down."""

    def __init__(self, made: list[Exchange]) -> None:
        self.strands = Strands()
        self._last: str | None = None
        self._playing: str | None = None
        for number, exchange in enumerate(made):
            self._caller(number, exchange)
            self._assistant(f"r{number}", exchange)

    def _emit(self, type_: str, /, **fields: Any) -> None:
        self.strands.main.append({"type": type_, "event_id": f"event_{len(self.strands.main)}", **fields})

    def _float(self, *events: Event, before: int | None = None) -> None:
        self.strands.floating.append(Floating(list(events), len(self.strands.main), before))

    def _join(self, item: Event) -> str | None:
        previous, self._last = self._last, item["id"]
        self.strands.items[item["id"]] = item
        return previous

    def _caller(self, number: int, exchange: Exchange) -> None:
        key = f"u{number}"
        self._emit("input_audio_buffer.speech_started", item_id=key, audio_start_ms=number * 1000)
        if self._playing is not None:
            response, self._playing = self._playing, None
            self._float({"type": "output_audio_buffer.cleared", "response_id": response})
            self.strands.floating[-1].before = len(self.strands.main) + 1
        self._emit("input_audio_buffer.speech_stopped", item_id=key, audio_end_ms=number * 1000 + 500)
        item = {
            "id": key,
            "type": "message",
            "role": "user",
            "status": "completed",
            "content": [{"type": "input_audio", "transcript": exchange.transcript}],
        }
        previous = self._join(item)
        bare = {**item, "content": [{"type": "input_audio", "transcript": None}]}
        self._emit("input_audio_buffer.committed", item_id=key, previous_item_id=previous)
        place = {"item_id": key, "content_index": 0}
        kind = "conversation.item.input_audio_transcription"
        if exchange.transcript is None:
            error = {"type": "server_error", "code": "x", "message": "it failed"}
            self._float({"type": f"{kind}.failed", **place, "error": error})
        else:
            self._float(
                {"type": f"{kind}.delta", **place, "delta": exchange.transcript[:2]},
                {"type": f"{kind}.completed", **place, "transcript": exchange.transcript},
            )
        self._emit("conversation.item.added", item=bare, previous_item_id=previous)
        self._emit("conversation.item.done", item=bare, previous_item_id=previous)

    def _assistant(self, response: str, exchange: Exchange) -> None:
        output: list[Event] = []
        value: Event = {
            "id": response,
            "status": "in_progress",
            "output": [],
            "conversation_id": "conv",
            "metadata": None,
        }
        self._emit("response.created", response=value)
        for line in range(exchange.lines):
            output.append(self._line(response, f"a{response}{line}", f"line {line} of {response}", line))
            if line == 0:
                self._emit("output_audio_buffer.started", response_id=response)
        if exchange.tool and not exchange.cut:
            output.append(self._tool(response, len(output)))
        status = "completed"
        done = {**value, "status": status, "output": [dict(item) for item in output]}
        self._emit("response.done", response=done)
        if exchange.cut:
            self._playing = response
        else:
            self._float({"type": "output_audio_buffer.stopped", "response_id": response})
        if exchange.tool and not exchange.cut:
            answer = {"id": f"o{response}", "type": "function_call_output", "call_id": f"c{response}", "output": "ok"}
            previous = self._join(answer)
            self._emit("conversation.item.added", item=answer, previous_item_id=previous)
            self._emit("conversation.item.done", item=answer, previous_item_id=previous)
            self._assistant(f"{response}x", Exchange(lines=1))

    def _line(self, response: str, key: str, words: str, index: int) -> Event:
        empty = {"id": key, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        place = {"response_id": response, "output_index": index}
        self._emit("response.output_item.added", **place, item=empty)
        item = {**empty, "status": "completed", "content": [{"type": "output_audio", "transcript": words}]}
        previous = self._join(item)
        self._emit("conversation.item.added", item=empty, previous_item_id=previous)
        part = {**place, "item_id": key, "content_index": 0}
        self._emit("response.output_audio_transcript.delta", **part, delta=words)
        self._emit("response.output_audio_transcript.done", **part, transcript=words)
        self._emit("response.output_item.done", **place, item=item)
        self._emit("conversation.item.done", item=item, previous_item_id=previous)
        return item

    def _tool(self, response: str, index: int) -> Event:
        empty = {"id": f"f{response}", "type": "function_call", "call_id": f"c{response}", "name": "look"}
        place = {"response_id": response, "output_index": index}
        begun = {**empty, "arguments": "", "status": "in_progress"}
        self._emit("response.output_item.added", **place, item=begun)
        item = {**empty, "arguments": "{}", "status": "completed"}
        previous = self._join(item)
        self._emit("conversation.item.added", item=begun, previous_item_id=previous)
        self._emit("response.output_item.done", **place, item=item)
        self._emit("conversation.item.done", item=item, previous_item_id=previous)
        return item


@st.composite
def interleaved(draw: st.DrawFn, strands: Strands) -> list[Event]:
    """One order in which a call's events may come."""
    at: dict[int, list[Event]] = {}
    for floating in strands.floating:
        place = floating.after
        last = len(strands.main) if floating.before is None else floating.before
        for event in floating.events:
            place = draw(st.integers(place, last))
            at.setdefault(place, []).append(event)
    events: list[Event] = []
    for index in range(len(strands.main) + 1):
        events += at.get(index, [])
        events += strands.main[index : index + 1]
    return events
