"""What the caller says, on its way to the chat: from audio that the service takes in to its words, if they come."""

from evi_mcp.openai_realtime.reading import Message, Object, text, thing, whole
from evi_mcp.openai_realtime.responses import Responses
from evi_mcp.openai_realtime.speech import NO_TRANSCRIPTION, Speech
from evi_mcp.openai_realtime.timeline import Timeline


class Utterances:
    """The caller's side of a call.

    Args:
        timeline: Where it is put.
        responses: Those that it may interrupt.
    """

    def __init__(self, timeline: Timeline, responses: Responses) -> None:
        self._timeline = timeline
        self._responses = responses
        self._speech = Speech()
        self._told_of_transcription = False
        self.waits_for_answer = False
        """Whether the caller has said or typed something since the last answer began; whoever sees one sets it back."""

    def settings(self, session: Object) -> None:
        """The state of the session is known: whether the caller's words become text, for one thing."""
        self._speech.read(session)
        if self._speech.transcribed is False:
            for key in self._timeline.open_keys:
                if self._speech.knows(key):
                    self._say_without_text(key)

    def speech(self, event: Object) -> None:
        """`speech_started` and `speech_stopped`."""
        key = text(event, "item_id")
        if event.get("type") == "input_audio_buffer.speech_started":
            self._speech.began(key, whole(event, "audio_start_ms"))
            for response in self._responses.playing:
                response.spoken_over = True
        else:
            self._speech.stopped(key, whole(event, "audio_end_ms"))

    def committed(self, key: str, previous: str | None) -> None:
        """The caller has said something."""
        if not key:
            return
        if key not in self._timeline:
            self.waits_for_answer = True
            self._timeline.place(key, after=previous)
        self._speech.note(key)
        if self._speech.transcribed is False:
            self._say_without_text(key)
        else:
            self._await_words(key)

    def transcription(self, event: Object) -> None:
        """`transcription.delta`, `.completed` and `.failed`."""
        key, kind = text(event, "item_id"), str(event.get("type")).rpartition(".")[2]
        if not key:
            return
        self.committed(key, None)
        if kind == "delta":
            said = self._speech.hears(key, text(event, "delta"))
            if said and self._timeline.is_next(key) and self._timeline.is_open(key):
                self._timeline.now({**self._speech.message(key, said), "interim": True})
        elif kind == "completed":
            self._timeline.fill(key, [self._speech.transcribed_as(key, text(event, "transcript"))])
        elif kind == "failed":
            error = thing(event, "error")
            why = text(error, "message") or text(error, "code")
            self._timeline.fill(key, [self._speech.without_text(key, "failed", why)])

    def spoken(self, key: str, words: str) -> None:
        """An item of speech as the conversation has it; its words may be empty."""
        self._speech.note(key)
        if words:
            self._timeline.fill(key, [self._speech.message(key, words)])
        elif self._speech.transcribed is False:
            self._say_without_text(key)

    def typed(self, key: str, words: str) -> None:
        """An item of text that somebody has put into the caller's mouth."""
        if self._timeline.fill(key, [_typed(key, words)]):
            self.waits_for_answer = True

    def lost(self, key: str) -> bool:
        """An item that was asked for again is not there; whether it is the caller's, whose words may yet come."""
        if self._speech.knows(key):
            self._await_words(key)
            return True
        return False

    def _await_words(self, key: str) -> None:
        """Speech whose text does not come in time, or not at all, is shown without it."""
        late, never = self._speech.without_text(key, "late"), self._speech.without_text(key, "lost")
        self._timeline.otherwise(key, [{**late, "interim": True}])
        self._timeline.promise(key, [never])

    def _say_without_text(self, key: str) -> None:
        if self._timeline.fill(key, [self._speech.without_text(key, "off")]) and not self._told_of_transcription:
            self._told_of_transcription = True
            self._timeline.last(dict(NO_TRANSCRIPTION))


def _typed(key: str, words: str) -> Message:
    return {
        "type": "user_message",
        "message": {"role": "user", "content": words},
        "models": {},
        "from_text": True,
        "interim": False,
        "item_id": key,
    }
