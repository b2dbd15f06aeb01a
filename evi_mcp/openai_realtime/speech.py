"""What the caller says: when, and in which words, if the service writes them down.

Without `audio.input.transcription` in the session there is no text of the caller's speech for anybody, which is the
default. Text that comes is made by another model than the one that answers, and may differ from what that one heard.
"""

from collections import OrderedDict
from dataclasses import dataclass

from evi_mcp.openai_realtime.reading import MAX_TEXT, Message, Object, thing

MAX_UTTERANCES = 500
"""Utterances of which something is remembered; the oldest is forgotten first."""

NO_TRANSCRIPTION: Message = {
    "type": "error",
    "code": "W9101",
    "slug": "no_transcription",
    "message": "The session does not transcribe what the caller says, so nobody gets it as text. Whoever opens the call"
    ' must set audio.input.transcription in its session, such as {"model": "gpt-4o-mini-transcribe"}.',
}

WITHOUT_TEXT = {
    "off": "[speech, not transcribed]",
    "failed": "[speech, its transcription failed]",
    "lost": "[speech, its text did not come]",
    "late": "[speech, its text has not come yet]",
    "empty": "[speech without words]",
}


@dataclass
class _Utterance:
    begin_ms: int | None = None
    end_ms: int | None = None
    so_far: str = ""


class Speech:
    """The caller's utterances, by the id of their item."""

    def __init__(self) -> None:
        self._utterances: OrderedDict[str, _Utterance] = OrderedDict()
        self.transcribed: bool | None = None
        """Whether speech becomes text; `None` as long as nobody knows."""

    def read(self, session: Object) -> None:
        """Takes in the state of the session."""
        heard = thing(thing(session, "audio"), "input")
        if "transcription" in heard:
            self.transcribed = heard["transcription"] is not None

    def note(self, key: str) -> None:
        """There is such an utterance."""
        self._known(key)

    def knows(self, key: str) -> bool:
        """Whether an item is known to be an utterance."""
        return key in self._utterances

    def began(self, key: str, at_ms: int | None) -> None:
        """It began, in milliseconds of the call's audio."""
        self._known(key).begin_ms = at_ms

    def stopped(self, key: str, at_ms: int | None) -> None:
        """It ended."""
        self._known(key).end_ms = at_ms

    def hears(self, key: str, delta: str) -> str:
        """Adds a piece of its text; all of it so far."""
        utterance = self._known(key)
        utterance.so_far = (utterance.so_far + delta)[:MAX_TEXT]
        return utterance.so_far

    def message(self, key: str, words: str) -> Message:
        """The `user_message` for an utterance."""
        utterance = self._known(key)
        times = {"begin": utterance.begin_ms, "end": utterance.end_ms}
        known = {name: at for name, at in times.items() if at is not None}
        return {
            "type": "user_message",
            "message": {"role": "user", "content": words},
            "models": {},
            **({"time": known} if known else {}),
            "from_text": False,
            "interim": False,
            "item_id": key,
        }

    def transcribed_as(self, key: str, words: str) -> Message:
        """The same for a transcript, which may be empty."""
        return self.message(key, words) if words.strip() else self.without_text(key, "empty")

    def without_text(self, key: str, why: str, said: str = "") -> Message:
        """The `user_message` for speech whose words nobody knows.

        Args:
            key: Of the item.
            why: One of `WITHOUT_TEXT`; it stands in the field `transcript`.
            said: What the service says of it.
        """
        found = {**self.message(key, WITHOUT_TEXT[why]), "transcript": why}
        return {**found, "transcript_error": said} if said else found

    def _known(self, key: str) -> _Utterance:
        found = self._utterances.setdefault(key, _Utterance())
        if len(self._utterances) > MAX_UTTERANCES:
            self._utterances.popitem(last=False)
        return found
