"""Decodes the frequent messages fast: most of what a chat sends is audio, transcripts and scores.

A message that is not exactly as documented is left to `codec.decode`, which reads anything. So fast decoding gives the
same result as `codec.decode`, or none; `tests/protocol/test_fast_decode.py` compares the two.
"""

from operator import attrgetter
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Struct
from pydantic_core import from_json

from evi_mcp.protocol.cutting import MAX_NAME
from evi_mcp.protocol.parts import MAX_MILLISECONDS, MAX_SCORE
from evi_mcp.protocol.prosody import SCORE_NAMES
from evi_mcp.protocol.redaction import Mask
from evi_mcp.protocol.scores import Scores

LARGE_AUDIO = 256 * 1024
"""The longest audio frame that is parsed as a whole, in characters. From a longer one only the fields of audio are
read, so that no other field can take long."""


class FastMessage(NamedTuple):
    """A message of one of five types; fields that it does not have are `None` or `False`.

    `number` is the `index` of audio; `scores` have EVI's own names only, so they hold no text from outside.
    """

    type: str
    content: str | None = None
    id: str | None = None
    number: int | None = None
    data: str | None = None
    scores: Scores | None = None
    begin: int | None = None
    end: int | None = None
    from_text: bool = False
    interim: bool = False
    quick: bool = False

    def masked(self, mask: Mask) -> "FastMessage":
        """The same message without secrets. Audio is not searched: it is large, and nobody reads it as text."""
        if not mask.has_secrets:
            return self
        begin, end = (None if mask.hides(place) else place for place in (self.begin, self.end))
        return self._replace(content=mask(self.content), id=mask(self.id), begin=begin, end=end)


def decode_fast(frame: str) -> FastMessage | None:
    """What a text frame says, if it is speech, expression or the end of a turn, in the documented form."""
    try:
        found = _speech.decode(frame)
    except _DECODE_ERRORS:
        return None
    match found:
        case _UserMessage(said, models, time, from_text, interim, _, name):
            return FastMessage(
                *("user_message", said.content, name, None, None, models.packed()),
                *(time.begin, time.end, from_text, interim),
            )
        case _AssistantMessage(name, said, models, from_text, quick):
            return FastMessage(
                *("assistant_message", said.content, name, None, None, models.packed()),
                *(None, None, from_text, False, quick),
            )
        case _AssistantProsody(name, models):
            return FastMessage("assistant_prosody", id=name, scores=models.packed())
    return _END


def decode_audio(frame: str) -> FastMessage | None:
    """As `decode_fast`, for a chunk of EVI's voice."""
    if '"audio_output"' not in frame[:100] or not frame.isascii():
        return None
    try:
        found = _audio.decode(frame) if len(frame) > LARGE_AUDIO else _voice(from_json(frame))
    except (*_DECODE_ERRORS, TypeError, KeyError):
        return None
    if found is None or len(found.id) > MAX_NAME:
        return None
    return FastMessage("audio_output", None, found.id, found.index, found.data)


def _voice(value: Any) -> "_AudioOutput | None":
    """Picks the fields by hand, because `from_json` reads a long text four times as fast as `msgspec`."""
    name, index, data = value["id"], value["index"], value["data"]
    if value["type"] == "audio_output" and type(name) is str and type(index) is int and type(data) is str:
        return _AudioOutput(name, index, data)
    return None


_END = FastMessage("assistant_end")
_DECODE_ERRORS = (msgspec.MsgspecError, ValueError, RecursionError)


class _Said(Struct, gc=False, forbid_unknown_fields=True):  # others: tools' words, or new fields
    role: str
    content: str


_Milliseconds = Annotated[int, Meta(ge=-MAX_MILLISECONDS, le=MAX_MILLISECONDS)]


class _Interval(Struct, gc=False):
    begin: _Milliseconds
    end: _Milliseconds


_FIELDS = [f"score_{number}" for number in range(len(SCORE_NAMES))]
_scores_of = attrgetter(*_FIELDS)
_NamedScores = msgspec.defstruct(
    "_NamedScores",
    # NaN, which JSON does not have, marks a score that did not come.
    [(field, Annotated[float, Meta(ge=-MAX_SCORE, le=MAX_SCORE)], float("nan")) for field in _FIELDS],
    rename=dict(zip(_FIELDS, SCORE_NAMES, strict=True)),
    forbid_unknown_fields=True,
    gc=False,
)


class _Prosody(Struct, gc=False):
    scores: _NamedScores  # type: ignore[valid-type]  # it is made when this is loaded


class _Inference(Struct, gc=False):
    prosody: _Prosody | None = None

    def packed(self) -> Scores | None:
        return Scores.of_evi(_scores_of(self.prosody.scores)) if self.prosody is not None else None


class _UserMessage(Struct, gc=False, tag="user_message"):
    message: _Said
    models: _Inference
    time: _Interval
    from_text: bool = False
    interim: bool = False
    late: None = None  # what only adapters say is rare, and left to `codec.decode`
    id: str | None = None


class _AssistantMessage(Struct, gc=False, tag="assistant_message"):
    id: str
    message: _Said
    models: _Inference
    from_text: bool = False
    is_quick_response: bool = False
    asked_text: None = None
    reworded: None = None
    heard: None = None
    late: None = None


class _AssistantProsody(Struct, gc=False, tag="assistant_prosody"):
    id: str
    models: _Inference


class _AssistantEnd(Struct, gc=False, tag="assistant_end"):
    heard: None = None


class _AudioOutput(Struct, gc=False, tag="audio_output"):
    id: str
    index: int
    data: str


_speech = msgspec.json.Decoder(_UserMessage | _AssistantMessage | _AssistantProsody | _AssistantEnd)
_audio = msgspec.json.Decoder(_AudioOutput)
