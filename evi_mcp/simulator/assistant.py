"""EVI's side of a simulated call: replies, tool calls, words put into its mouth, and silence while paused.

Hume's guides leave open some of what happens here; what this simulator does instead of guessing twice:
an `assistant_input` is spoken at once, also over a reply and also while paused (it is nobody's generated message);
a `user_input` during a reply waits for its end; a reply cut by the user has no `assistant_end`.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from evi_mcp.protocol.commands import ToolError, ToolResponse
from evi_mcp.simulator import audio, expression
from evi_mcp.simulator.call_state import CallState
from evi_mcp.simulator.mood import Mood
from evi_mcp.simulator.processes import Process, Wait
from evi_mcp.simulator.responder import lines_after
from evi_mcp.simulator.scenario import CallFunction, Reply, Say, SearchWeb

THINKING_S = 0.7
"""From the end of the user's words to EVI's first."""

_WORD_S = 0.3
_MAX_QUEUED = 32  # replies, and spoken inputs; beyond it the oldest is dropped
_MAX_CALLS = 100  # remembered, to tell a late answer from one to a call that never was
_INPUT_EXPRESSION = {"Calmness": 0.4, "Interest": 0.24, "Determination": 0.16}


@dataclass
class _FunctionCall:
    """A function that was asked for. It is `dropped` if the user moves on before there is an answer."""

    state: Literal["waiting", "answered", "late", "dropped"] = "waiting"
    answer: ToolResponse | ToolError | None = None


class Assistant:
    """Speaks replies, one after the other, in two processes: `replying`, and `speaking_input` beside it.

    Args:
        state: Shared with the user.
        mood: The user's, which silence and supervisors move.
        tool_timeout_s: How long a client may take to answer a tool call, in real seconds. Hume states that there is
            a limit and not how long it is.
    """

    def __init__(self, state: CallState, mood: Mood, tool_timeout_s: float) -> None:
        self.paused = False
        self._state = state
        self._mood = mood
        self._tool_timeout_s = tool_timeout_s
        self._replies: deque[Callable[[], Reply]] = deque(maxlen=_MAX_QUEUED)
        self._inputs: deque[tuple[str, str]] = deque(maxlen=_MAX_QUEUED)
        self._calls: dict[str, _FunctionCall] = {}
        self._in_reply = False
        self._deciding = False
        self._held = False
        self._awaits_tool = False
        self._in_input = False
        self.replying = Process(self._reply_to_all(), state.now)
        self.speaking_input = Process(self._speak_inputs(), state.now)

    @property
    def speaking(self) -> bool:
        """Whether EVI has begun something and goes on with it; waiting for a tool is part of it, unless paused."""
        waits = self._held or (self.paused and self._awaits_tool)
        return self._in_input or (self._in_reply and not waits)

    @property
    def silent(self) -> bool:
        """Whether EVI says nothing and is not about to."""
        return not self.speaking and not self._inputs and (self.paused or not (self._replies or self._in_reply))

    @property
    def decided(self) -> bool:
        """Whether EVI knows what it answers to the last words; a paused one decides nothing."""
        return self.paused or not (self._replies or self._deciding)

    def reply(self, reply: Callable[[], Reply]) -> None:
        """Queues a reply. While paused it takes the place of all before it: only the last words are answered.

        Args:
            reply: Asked when EVI is about to speak: what it says depends on what it knows by then.
        """
        if self.paused:
            self._replies.clear()
            if self._held or self._awaits_tool:
                self._drop_reply()
        self._replies.append(reply)

    def say(self, text: str) -> None:
        """Takes an `assistant_input`: the message is out at once, its audio follows."""
        over_evi = not self.paused and self._in_reply and not self._awaits_tool
        self._mood.supervisor_spoke(paused=self.paused, over_evi=over_evi)
        self._inputs.append((self._message(text, from_text=True), text))

    def pause(self) -> None:
        """Silences EVI after the message it is saying. Twice is the same as once."""
        self.paused = True

    def resume(self) -> None:
        """Lets EVI go on with what it held back, or answer what was said last."""
        while self.paused and len(self._replies) > 1:
            self._replies.popleft()
        self.paused = False

    def interrupt(self) -> bool:
        """Drops what EVI is saying; returns whether it was. Replies to other words are still to come."""
        was_speaking = self.speaking
        self._drop_reply()
        self._inputs.clear()
        self._in_input = False
        self.speaking_input = Process(self._speak_inputs(), self._state.now)
        return was_speaking

    def take_answer(self, answer: ToolResponse | ToolError) -> str | None:
        """Takes a client's answer to a tool call; the first one counts. Returns what is wrong with it, or `None`."""
        call = self._calls.get(answer.tool_call_id)
        if call is None:
            return "no tool call has this id"
        if call.state != "waiting":
            return {
                "answered": "the tool call has been answered already",
                "late": "the answer is late: EVI has gone on without it",
                "dropped": "the tool call was dropped: the user moved on",
            }[call.state]
        call.state, call.answer = "answered", answer
        return None

    def use_builtin(self, name: str, parameters: Mapping[str, object]) -> str:
        """Announces the use of a built-in tool and returns the id of the call. No client has to answer."""
        return self._tool_call(name, parameters, builtin=True)

    def _drop_reply(self) -> None:
        for call in self._calls.values():
            if call.state == "waiting":
                call.state = "dropped"
        self._in_reply = self._deciding = self._held = self._awaits_tool = False
        self.replying = Process(self._reply_to_all(), self._state.now)

    def _reply_to_all(self) -> Iterator[Wait]:
        while True:
            yield Wait(when=lambda: bool(self._replies) and not self.paused and not self._in_input)
            decide = self._replies.popleft()
            self._in_reply = self._deciding = True
            yield self._state.after(THINKING_S)
            yield from self._unless_paused()
            reply, self._deciding = decide(), False
            for step in reply:
                match step:
                    case Say():
                        yield from self._say_lines(step.says, step.expression, quick=step.quick)
                    case CallFunction():
                        yield from self._call_function(step)
                    case SearchWeb():
                        yield from self._search(step)
            self._state.emit("assistant_end")
            self._in_reply = False

    def _speak_inputs(self) -> Iterator[Wait]:
        while True:
            yield Wait(when=lambda: bool(self._inputs))
            self._in_input = True
            while self._inputs:
                yield from self._speak(*self._inputs.popleft(), _INPUT_EXPRESSION)
            self._in_input = False
            if not self._in_reply or self._held:  # else the reply's own end ends both
                self._state.emit("assistant_end")

    def _say_lines(self, lines: tuple[str, ...], peaks: Mapping[str, float], *, quick: bool = False) -> Iterator[Wait]:
        for line in lines:
            yield from self._unless_paused()
            yield from self._speak(self._message(line, quick=quick), line, peaks)

    def _speak(self, message_id: str, text: str, peaks: Mapping[str, float]) -> Iterator[Wait]:
        """The audio and the prosody of a message. What has begun is sent to its end, paused or not."""
        tones = audio.tones(text)
        for index, tone in enumerate(tones):
            self._state.emit("audio_output", id=message_id, index=index, data=audio.wav_base64(tone))
            if index == len(tones) // 2:
                models = {"prosody": {"scores": expression.scores(peaks, self._state.chance)}}
                self._state.emit("assistant_prosody", id=message_id, models=models)
            yield self._state.after(_WORD_S)

    def _call_function(self, step: CallFunction) -> Iterator[Wait]:
        yield from self._unless_paused()
        call_id = self._tool_call(step.calls, step.parameters, builtin=False)
        call = self._calls[call_id] = _FunctionCall()
        if len(self._calls) > _MAX_CALLS:
            del self._calls[next(iter(self._calls))]
        self._awaits_tool, asked_at = True, self._state.now
        yield Wait(until=asked_at + self._tool_timeout_s, when=lambda: call.answer is not None)
        self._awaits_tool = False
        self._mood.waited_for_tool(self._state.now - asked_at, answered=call.answer is not None)
        yield from self._unless_paused()
        if call.answer is None:
            call.state = "late"
            self._state.emit(
                "tool_error",
                tool_call_id=call_id,
                tool_type="function",
                level="warn",
                error=f"no answer within {self._tool_timeout_s:g} s",
                code="timeout",
                content=" ".join(step.fallback),
            )
        yield self._state.after(THINKING_S)
        yield from self._say_lines(lines_after(step, call.answer), step.expression)

    def _search(self, step: SearchWeb) -> Iterator[Wait]:
        yield from self._unless_paused()
        call_id = self.use_builtin("web_search", {"query": step.searches})
        yield self._state.after(step.after_s)
        yield from self._unless_paused()
        content = json.dumps(dict(step.finds), ensure_ascii=False)
        self._state.emit(
            "tool_response", tool_call_id=call_id, tool_name="web_search", tool_type="builtin", content=content
        )
        yield self._state.after(THINKING_S)

    def _unless_paused(self) -> Iterator[Wait]:
        """Holds back what comes next until EVI may speak."""
        if self.paused:
            self._held = True
            if self._replies:  # something was said while EVI finished its message: that is to be answered instead
                self._drop_reply()
            yield Wait(when=lambda: not self.paused)
            self._held = False

    def _message(self, text: str, *, from_text: bool = False, quick: bool = False) -> str:
        self._mood.waited(self._state.stop_waiting())
        message_id = self._state.new_id()
        self._state.emit(
            "assistant_message",
            id=message_id,
            message={"role": "assistant", "content": text},
            models={},  # since EVI 3 the prosody of its own voice comes by itself
            from_text=from_text,
            is_quick_response=quick,
        )
        return message_id

    def _tool_call(self, name: str, parameters: Mapping[str, object], *, builtin: bool) -> str:
        self._mood.waited(self._state.stop_waiting())
        call_id = self._state.new_tool_call_id()
        self._state.emit(
            "tool_call",
            tool_call_id=call_id,
            name=name,
            parameters=json.dumps(dict(parameters), ensure_ascii=False),
            response_required=not builtin,
            tool_type="builtin" if builtin else "function",
        )
        return call_id
