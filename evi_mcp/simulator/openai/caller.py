"""The caller of a simulated call: speaks when the assistant has finished, or over it."""

from collections.abc import Callable, Iterator

from evi_mcp.simulator.openai.speaker import THINKING_S, Asked, Speaker
from evi_mcp.simulator.openai.wire import Object, Wire
from evi_mcp.simulator.processes import Process, Wait
from evi_mcp.simulator.scenario import HangUp, Inactivity, Reply, Say, Scenario, UserLeaves, UserLine

_WORD_S = 0.36
_PATIENCE_S = 6.0


class Caller:
    """Plays the caller's side of a script.

    Args:
        wire: Shared with the assistant.
        speaker: The assistant: listened to, and interrupted.
        scenario: The script.
        answer: Given each reply of the script: the service's turn detection asks for it, or does not.
        session: Gives the state of the session.
        transcript_after_s: How long the text of an utterance takes.
        tool_timeout_s: For how long the caller waits while a tool call is open, in real seconds.
    """

    def __init__(
        self,
        wire: Wire,
        speaker: Speaker,
        scenario: Scenario,
        answer: Callable[[Reply | None], bool],
        session: Callable[[], Object],
        *,
        transcript_after_s: float,
        tool_timeout_s: float,
    ) -> None:
        self._wire = wire
        self._speaker = speaker
        self._scenario = scenario
        self._answer = answer
        self._session = session
        self._transcript_after_s = transcript_after_s
        self._tool_timeout_s = tool_timeout_s
        self._unanswered = False
        self.typed = 0
        """How often somebody has typed for the caller."""
        self.writing: list[Process] = []
        """Transcripts that are being made."""
        self.speaking = Process(self._play(), wire.now)

    def _play(self) -> Iterator[Wait]:
        if self._scenario.greeting is not None:
            self._answer((self._scenario.greeting,))
        for exchange in self._scenario.exchanges:
            if exchange.user.cuts_in_after_s is not None and self._busy:
                yield self._wire.after(THINKING_S + exchange.user.cuts_in_after_s)
            else:
                yield from self._silence(exchange.user.after_s)
            yield from self._speak(exchange.user)
            self._unanswered = not self._answer(exchange.evi)
        yield from self._end()

    @property
    def _busy(self) -> bool:
        return self._speaker.busy or any(self._wire.now < self._until(asked) for asked in self._speaker.asked.values())

    def _until(self, asked: Asked) -> float:
        """How long the caller waits for a tool."""
        return asked.since + self._tool_timeout_s

    def _silence(self, seconds: float) -> Iterator[Wait]:
        while True:
            # Looked at every second too: a tool may be called after this wait began, and time out in it.
            yield Wait(until=self._wire.now + 1, when=lambda: not self._busy)
            if self._busy:
                continue
            typed = self.typed
            yield self._wire.after(seconds + (_PATIENCE_S if self._unanswered else 0))
            if not self._busy and self.typed == typed:
                return

    def _speak(self, line: UserLine) -> Iterator[Wait]:
        wire, item_id = self._wire, self._wire.new_id("item")
        wire.emit("input_audio_buffer.speech_started", item_id=item_id, audio_start_ms=wire.audio_ms)
        detection = self._detection
        if detection.get("interrupt_response", True):
            self._speaker.interrupt()
        yield wire.after(_WORD_S * len(line.says.split()))
        wire.emit("input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=wire.audio_ms)
        wire.emit(
            "input_audio_buffer.committed", item_id=item_id, previous_item_id=wire.order[-1] if wire.order else None
        )
        item = wire.add(
            {
                "id": item_id,
                "type": "message",
                "role": "user",
                "status": "completed",
                "content": [{"type": "input_audio", "transcript": None}],
            }
        )
        wire.done(item)
        if self._session()["audio"]["input"].get("transcription"):
            self.writing.append(Process(self._write(item, line.says), wire.now))
            self.writing[-1].step()

    def _write(self, item: Object, words: str) -> Iterator[Wait]:
        place = {"item_id": item["id"], "content_index": 0}
        kind = "conversation.item.input_audio_transcription"
        yield self._wire.after(self._transcript_after_s / 2)
        self._wire.emit(f"{kind}.delta", **place, delta=words[: len(words) // 2])
        yield self._wire.after(self._transcript_after_s / 2)
        item["content"][0]["transcript"] = words
        usage = {"type": "duration", "seconds": 1.0}
        self._wire.emit(f"{kind}.completed", **place, transcript=words, usage=usage)

    @property
    def _detection(self) -> Object:
        found: Object = self._session()["audio"]["input"].get("turn_detection") or {}
        return found

    def _end(self) -> Iterator[Wait]:
        match self._scenario.ending:
            case UserLeaves(after_s=seconds) | HangUp(after_s=seconds):
                yield from self._silence(seconds)
                self._wire.ending = "the caller left"
            case Inactivity() as ending:
                yield from self._silence(ending.after_s)
                at = self._wire.audio_ms
                self._wire.emit(
                    "input_audio_buffer.timeout_triggered",
                    item_id=self._wire.new_id("item"),
                    audio_start_ms=max(0, at - int(ending.after_s * 1000)),
                    audio_end_ms=at,
                )
                self._answer((Say(says=ending.says),))
                yield from self._silence(ending.grace_s)
                self._wire.ending = "nobody spoke"
