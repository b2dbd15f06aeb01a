"""One simulated call: client events go in, server events come out. No sockets, no clock, no awaiting."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any

from evi_mcp.protocol.commands import SessionSettings, ToolResponse
from evi_mcp.simulator.openai.caller import Caller
from evi_mcp.simulator.openai.speaker import Speaker, Step
from evi_mcp.simulator.openai.wire import Object, Publish, Refused, Wire, shown
from evi_mcp.simulator.processes import Process
from evi_mcp.simulator.responder import lines_after, reply_to
from evi_mcp.simulator.scenario import CallFunction, Reply, Say, Scenario

_NOT_FROM_HERE = frozenset({"input_audio_buffer.append", "input_audio_buffer.commit"})


class RealtimeCall:
    """A call from its beginning to its end.

    Args:
        scenario: The script; `None`: nobody speaks, somebody may type.
        chance: Seeded; makes every id.
        publish: Takes each event that all sockets get.
        now: The time of the beginning, in seconds.
        speed: How many times faster than life it plays.
        transcribes: Whether the session turns speech into text.
        transcript_after_s: How long that takes.
        tool_timeout_s: For how long the caller waits for a tool, in real seconds.
        rewords: What the model makes of words that it is to say exactly; by default it says them.
    """

    def __init__(
        self,
        scenario: Scenario | None,
        chance: Random,
        publish: Publish,
        *,
        now: float = 0.0,
        speed: float = 1.0,
        transcribes: bool = True,
        transcript_after_s: float = 0.6,
        tool_timeout_s: float = 45.0,
        rewords: Callable[[str], str] = str,
    ) -> None:
        self._wire = wire = Wire(publish, chance, now=now, speed=speed)
        self._speaker = Speaker(wire)
        self._rewords = rewords
        self._reply: Reply | None = None
        self._typed: list[str] = []
        self._outputs: deque[tuple[str, str]] = deque()
        self.session = _session(wire, scenario, transcribes)
        self._caller: Caller | None = None
        if scenario is not None:
            self._caller = Caller(
                wire,
                self._speaker,
                scenario,
                self._heard,
                lambda: self.session,
                transcript_after_s=transcript_after_s,
                tool_timeout_s=tool_timeout_s,
            )

    @property
    def ending(self) -> str | None:
        """Why the call ended; `None` while it goes on."""
        return self._wire.ending

    @property
    def items(self) -> Mapping[str, Object]:
        """The conversation."""
        return self._wire.items

    def greeting(self) -> Object:
        """The first event of a socket."""
        return self._wire.event("session.created", session=_copied(self.session))

    def expire(self) -> None:
        """The call has reached its maximum duration."""
        error = {"type": "invalid_request_error", "code": "session_expired", "message": "Your session hit the maximum"}
        self._wire.emit("error", error=error)
        self.hang_up("the session has expired")

    def hang_up(self, why: str = "hung up") -> None:
        """The call ends."""
        self._wire.ending = self._wire.ending or why

    def take(self, event: Mapping[str, Any], now: float) -> Object | None:
        """A client event; returns the `error` for its sender, if it is one."""
        self.advance(now)
        try:
            self._take(event)
        except Refused as refusal:
            error = {"type": "invalid_request_error", "code": refusal.code, "message": refusal.message}
            return self._wire.event("error", error={**error, "param": None, "event_id": event.get("event_id")})
        return None

    def advance(self, now: float) -> None:
        """Plays everything that is due."""
        while self.ending is None and (due := self.next_due()) is not None and due <= now:
            self._wire.now = max(self._wire.now, due)
            ready = min(self._processes(), key=self._due)
            ready.step()
            if self._caller is not None and ready.over and ready in self._caller.writing:
                self._caller.writing.remove(ready)
        self._wire.now = max(self._wire.now, now)

    def next_due(self) -> float | None:
        """When `advance` has something to do; `None` if only a client can bring it, or the call is over."""
        if self.ending is not None:
            return None
        found = min(map(self._due, self._processes()))
        return None if found == float("inf") else found

    def _processes(self) -> list[Process]:
        caller = [self._caller.speaking, *self._caller.writing] if self._caller is not None else []
        return [*caller, self._speaker.making, self._speaker.hearing]

    def _due(self, process: Process) -> float:
        due = process.due(self._wire.now)
        return float("inf") if due is None else due

    # What the assistant answers

    def _heard(self, reply: Reply | None) -> bool:
        """The caller has finished; whether the service asks for an answer by itself."""
        self._reply = reply
        detection = self.session["audio"]["input"].get("turn_detection")
        if detection is None or not detection.get("create_response", True) or self._speaker.active is not None:
            return False
        self._speaker.create(self._plan({}), {})
        return True

    def _plan(self, params: Mapping[str, Any]) -> deque[Step]:
        said = params.get("instructions")
        if params.get("conversation") == "none":
            return deque([Say(says=(self._account() or "nothing",))])
        if isinstance(said, str) and "\n\n" in said:
            return deque([Say(says=(self._rewords(said.partition("\n\n")[2]),))])
        if self._outputs:
            call_id, output = self._outputs.popleft()
            asked = self._speaker.asked.pop(call_id)
            answer = ToolResponse(tool_call_id=call_id, content=output)
            return deque([Say(says=lines_after(asked.step, answer)), *asked.rest])
        if self._reply is not None:
            reply, self._reply = self._reply, None
            return deque(reply)
        if self._typed:
            words, self._typed = " ".join(self._typed), []
            return deque(reply_to(words, SessionSettings(), self._whispered(), 0))
        return deque([Say(says=("I am listening.",))])

    def _account(self) -> str:
        lines = []
        for item in map(self._wire.items.__getitem__, self._wire.order):
            words = " ".join(part.get("transcript") or part.get("text") or "" for part in item.get("content", ()))
            if words:
                lines.append(f"{item['role']}: {words}")
        return "\n".join(lines)

    def _whispered(self) -> str | None:
        found = [item["content"][0]["text"] for item in self._wire.items.values() if item.get("role") == "system"]
        return " ".join(found) or None

    # Client events

    def _take(self, event: Mapping[str, Any]) -> None:
        match event.get("type"):
            case "session.update":
                self._update(event["session"])
            case "conversation.item.create":
                self._create_item(event["item"], event.get("previous_item_id"))
            case "conversation.item.retrieve":
                self._wire.emit("conversation.item.retrieved", item=shown(self._item(event["item_id"])))
            case "conversation.item.delete":
                self._item(event["item_id"])
                del self._wire.items[event["item_id"]]
                self._wire.order.remove(event["item_id"])
                self._wire.emit("conversation.item.deleted", item_id=event["item_id"])
            case "response.create":
                params = event.get("response") or {}
                if self._speaker.active is not None and params.get("conversation") != "none":
                    self._speaker.create(deque(), params)  # refuses
                self._speaker.create(self._plan(params), params)
            case "response.cancel":
                self._speaker.cancel("client_cancelled", event.get("response_id"))
            case "output_audio_buffer.clear":
                self._speaker.clear()
            case kind:
                raise Refused("invalid_value", f"{kind} is not for a supervisor" if kind in _NOT_FROM_HERE else "type")

    def _update(self, session: Mapping[str, Any]) -> None:
        if session.get("type") != "realtime":
            raise Refused("missing_required_parameter", "session.type")
        if unknown := session.keys() - self.session.keys():
            raise Refused("unknown_parameter", f"Unknown parameter: session.{min(unknown)}")
        audio = session.get("audio") or {}
        voice = (audio.get("output") or {}).get("voice")
        if voice is not None and voice != self.session["audio"]["output"]["voice"] and self._speaker.has_spoken:
            raise Refused("cannot_update_voice", "Cannot update a conversation's voice if assistant audio is present")
        for name, value in session.items():
            if name != "audio":
                self.session[name] = value
        for side, value in audio.items():
            kept = self.session["audio"][side]["format"]
            self.session["audio"][side] = {"format": kept, **value}
        self._wire.emit("session.updated", session=_copied(self.session))

    def _create_item(self, item: Mapping[str, Any], previous: str | None) -> None:
        item_id = item.get("id") or self._wire.new_id("item")
        if len(item_id) > 32:
            raise Refused("string_above_max_length", "item.id has more than 32 characters")
        if item_id in self._wire.items:
            raise Refused("item_create_duplicate_id", "item.id exists already")
        made = {**item, "id": item_id, "status": "completed"}
        if item["type"] == "function_call_output":
            if not any(known.get("call_id") == item["call_id"] for known in self._wire.items.values()):
                raise Refused("invalid_tool_call_id", f"Tool call ID '{item['call_id']}' not found in conversation")
            if item["call_id"] in self._speaker.asked and item["call_id"] not in (call for call, _ in self._outputs):
                self._outputs.append((item["call_id"], item["output"]))
        self._wire.done(self._wire.add(made, previous))
        if item["type"] == "message" and item["role"] == "user":
            self._typed.append(" ".join(part.get("text", "") for part in item["content"]))
            if self._caller is not None:
                self._caller.typed += 1

    def _item(self, item_id: str) -> Object:
        if item_id not in self._wire.items:
            raise Refused("item_retrieve_invalid_item_id", f"Item with item_id not found: {item_id}")
        return self._wire.items[item_id]


def _session(wire: Wire, scenario: Scenario | None, transcribes: bool) -> Object:
    steps: Iterable[Any] = (step for exchange in scenario.exchanges for step in exchange.evi) if scenario else ()
    names = dict.fromkeys(step.calls for step in steps if isinstance(step, CallFunction))
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": wire.new_id("sess"),
        "model": "gpt-realtime-2.1",
        "instructions": "You are a helpful voice assistant.",
        "output_modalities": ["audio"],
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": {"model": "gpt-4o-mini-transcribe"} if transcribes else None,
                "noise_reduction": None,
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 500,
                    "idle_timeout_ms": None,
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "marin", "speed": 1.0},
        },
        "tools": [
            {"type": "function", "name": name, "description": name, "parameters": {"type": "object"}} for name in names
        ],
        "tool_choice": "auto",
    }


def _copied(session: Object) -> Object:
    return {**session, "audio": {side: dict(value) for side, value in session["audio"].items()}}
