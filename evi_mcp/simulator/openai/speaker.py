"""The assistant's side of a simulated call: responses are made quickly, and heard at the pace of speech."""

import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from evi_mcp.simulator.openai.wire import Object, Refused, Wire
from evi_mcp.simulator.processes import Process, Wait
from evi_mcp.simulator.scenario import CallFunction, Say, SearchWeb

THINKING_S = 0.7
MAKING_S = 0.05
"""From one event of a response to the next."""
_WORD_S = 0.3

Step = Say | CallFunction | SearchWeb


@dataclass(eq=False)
class Run:
    """A response. `steps` are what is left of it; `seconds` is how long what was made takes to say."""

    value: Object
    steps: deque[Step]
    seconds: float = 0.0
    making: Object | None = None
    voiced: bool = True

    @property
    def id(self) -> str:
        return str(self.value["id"])

    @property
    def outside(self) -> bool:
        return self.value["conversation_id"] is None


@dataclass
class Asked:
    """A function call that waits for its output; `rest` is what the reply goes on with."""

    step: CallFunction
    rest: deque[Step] = field(default_factory=deque)
    since: float = 0.0


class Speaker:
    """Makes responses and says them.

    Args:
        wire: Shared with the caller.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.active: Run | None = None
        self._outside: deque[Run] = deque()
        self._to_hear: deque[Run] = deque()
        self._heard_now: Run | None = None
        self.asked: dict[str, Asked] = {}
        self.has_spoken = False
        self.making = Process(self._make_all(), wire.now)
        self.hearing = Process(self._hear_all(), wire.now)

    @property
    def busy(self) -> bool:
        """Whether the caller hears something or is about to."""
        return self.active is not None or self._heard_now is not None or bool(self._to_hear)

    def create(self, steps: Iterator[Step] | deque[Step], params: Mapping[str, Any]) -> None:
        """Begins a response.

        Raises:
            Refused: One of the conversation runs already.
        """
        outside = params.get("conversation") == "none"
        if self.active is not None and not outside:
            raise Refused(
                "conversation_already_has_active_response",
                f"Conversation already has an active response in progress: {self.active.id}",
            )
        modalities = params.get("output_modalities") or ["audio"]
        value: Object = {
            "id": self._wire.new_id("resp"),
            "object": "realtime.response",
            "status": "in_progress",
            "status_details": None,
            "output": [],
            "conversation_id": None if outside else self._wire.conversation_id,
            "output_modalities": modalities,
            "metadata": params.get("metadata"),
            "usage": None,
        }
        run = Run(value, deque(steps), voiced=modalities == ["audio"])
        if outside:
            self._outside.append(run)
        else:
            self.active = run
        self._wire.emit("response.created", response=_copy(value))

    def interrupt(self) -> bool:
        """The caller speaks over it; whether there was something to cut."""
        was_busy = self.busy
        self.clear()
        self.cancel("turn_detected")
        return was_busy

    def cancel(self, reason: str, response_id: str | None = None) -> None:
        """Stops making a response.

        Raises:
            Refused: There is none, or not this one, and a client has asked.
        """
        run = self.active
        if run is None or (response_id is not None and run.id != response_id):
            if reason == "client_cancelled":
                raise Refused("response_cancel_not_active", "Cancellation failed: no active response found")
            return
        if run.making is not None:
            self._finish_item(run, "incomplete")
        self._end(run, "cancelled", {"type": "cancelled", "reason": reason})
        self.making = Process(self._make_all(), self._wire.now)

    def clear(self) -> None:
        """Drops what is not heard yet."""
        heard, self._heard_now = self._heard_now, None
        self._to_hear.clear()
        if heard is not None:
            self._wire.emit("output_audio_buffer.cleared", response_id=heard.id)
            self.hearing = Process(self._hear_all(), self._wire.now)

    def _make_all(self) -> Iterator[Wait]:
        while True:
            yield Wait(when=lambda: self.active is not None or bool(self._outside))
            run = self._outside[0] if self._outside else self.active
            assert run is not None
            yield self._wire.after(THINKING_S)
            while run.steps:
                step = run.steps.popleft()
                match step:
                    case Say():
                        yield from self._say(run, " ".join(step.says))
                    case CallFunction():
                        yield from self._call(run, step)
                    case SearchWeb():
                        yield from self._search(run, step)
            self._end(run, "completed", None)

    def _hear_all(self) -> Iterator[Wait]:
        while True:
            yield Wait(when=lambda: bool(self._to_hear))
            run = self._heard_now = self._to_hear.popleft()
            self.has_spoken = True
            self._wire.emit("output_audio_buffer.started", response_id=run.id)
            heard = 0.0
            while heard < run.seconds or run is self.active:
                yield self._wire.after(min(_WORD_S, max(run.seconds - heard, 0.05)))
                heard += _WORD_S
            self._heard_now = None
            self._wire.emit("output_audio_buffer.stopped", response_id=run.id)

    def _say(self, run: Run, words: str) -> Iterator[Wait]:
        kind = "audio" if run.voiced else "text"
        item: Object = {
            "id": self._wire.new_id("item"),
            "object": "realtime.item",
            "type": "message",
            "role": "assistant",
            "status": "in_progress",
            "content": [],
        }
        index = self._begin_item(run, item)
        place = {"response_id": run.id, "item_id": item["id"], "output_index": index, "content_index": 0}
        name = "transcript" if run.voiced else "text"
        part = {"type": kind, name: ""}
        self._wire.emit("response.content_part.added", **place, part=dict(part))
        item["content"] = [{"type": f"output_{kind}", name: ""}]
        what = "response.output_audio_transcript" if run.voiced else "response.output_text"
        spoken = words.split()
        for start in range(0, len(spoken), 6):
            yield self._wire.after(MAKING_S)
            delta = " ".join(spoken[start : start + 6]) + (" " if start + 6 < len(spoken) else "")
            item["content"][0][name] += delta
            run.seconds += _WORD_S * len(delta.split())
            self._wire.emit(f"{what}.delta", **place, delta=delta)
            if run.voiced and run not in self._to_hear and run is not self._heard_now and not run.outside:
                self._to_hear.append(run)
                yield Wait(until=self._wire.now)
        yield self._wire.after(MAKING_S)
        self._wire.emit(f"{what}.done", **place, **{name: words})
        self._wire.emit("response.content_part.done", **place, part={"type": kind, name: words})
        self._finish_item(run, "completed")

    def _call(self, run: Run, step: CallFunction) -> Iterator[Wait]:
        call_id, arguments = self._wire.new_id("call"), json.dumps(dict(step.parameters), ensure_ascii=False)
        item: Object = {
            "id": self._wire.new_id("item"),
            "object": "realtime.item",
            "type": "function_call",
            "status": "in_progress",
            "call_id": call_id,
            "name": step.calls,
            "arguments": "",
        }
        index = self._begin_item(run, item)
        place = {"response_id": run.id, "item_id": item["id"], "output_index": index, "call_id": call_id}
        yield self._wire.after(MAKING_S)
        self._wire.emit("response.function_call_arguments.delta", **place, delta=arguments)
        self._wire.emit("response.function_call_arguments.done", **place, name=step.calls, arguments=arguments)
        item["arguments"] = arguments
        self.asked[call_id] = Asked(step, run.steps, self._wire.now)
        run.steps = deque()
        self._finish_item(run, "completed")

    def _search(self, run: Run, step: SearchWeb) -> Iterator[Wait]:
        arguments = json.dumps({"query": step.searches}, ensure_ascii=False)
        item: Object = {
            "id": self._wire.new_id("mcp"),
            "type": "mcp_call",
            "server_label": "search",
            "name": "web_search",
            "arguments": "",
        }
        index = self._begin_item(run, item)
        place = {"item_id": item["id"], "output_index": index}
        self._wire.emit("response.mcp_call_arguments.done", **place, response_id=run.id, arguments=arguments)
        self._wire.emit("response.mcp_call.in_progress", **place)
        item["arguments"] = arguments
        yield self._wire.after(step.after_s)
        item["output"] = json.dumps(dict(step.finds), ensure_ascii=False)
        self._wire.emit("response.mcp_call.completed", **place)
        self._finish_item(run, None)

    def _begin_item(self, run: Run, item: Object) -> int:
        run.making = item
        run.value["output"].append(item)
        index = len(run.value["output"]) - 1
        self._wire.emit("response.output_item.added", response_id=run.id, output_index=index, item=_copy(item))
        if not run.outside:
            self._wire.add(item)
            self._wire.items[item["id"]] = item
        return index

    def _finish_item(self, run: Run, status: str | None) -> None:
        item, run.making = run.making, None
        assert item is not None
        if status is not None:
            item["status"] = status
        index = run.value["output"].index(item)
        self._wire.emit("response.output_item.done", response_id=run.id, output_index=index, item=_copy(item))
        self._wire.done(item)

    def _end(self, run: Run, status: str, details: Object | None) -> None:
        run.value |= {"status": status, "status_details": details}
        if run.outside:
            self._outside.remove(run)
        else:
            self.active = None
        self._wire.emit("response.done", response=_copy(run.value))


def _copy(value: Object) -> Object:
    copied: Object = json.loads(json.dumps(value))
    return copied
