"""The frequent messages, read without making models of them: most of what a chat sends is audio, transcripts, scores.

What is not exactly as documented is left to `codec.decode`, which reads whatever comes; so skimming says what decoding
would have said, or nothing, and `tests/protocol/test_skim.py` holds the two together.
"""

from typing import Any, NamedTuple

from pydantic_core import from_json

from evi_mcp.protocol.messages import MAX_SCORE
from evi_mcp.protocol.prosody import SCORE_NAMES
from evi_mcp.protocol.redaction import Mask
from evi_mcp.protocol.scores import Scores

_DOCUMENTED = frozenset(SCORE_NAMES)


class Skimmed(NamedTuple):
    """A message of one of five types; fields that it does not have are `None` or `False`.

    `number` is the `index` of audio; `scores` have EVI's own names only: there is nothing of an outsider in them.
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

    def masked(self, mask: Mask) -> "Skimmed":
        """The same without secrets. Audio is not searched for them: it is large, and nobody reads it as text."""
        if not mask.has_secrets:
            return self
        begin, end = (None if mask.hides(place) else place for place in (self.begin, self.end))
        return self._replace(content=mask(self.content), id=mask(self.id), begin=begin, end=end)


def skim(frame: str) -> Skimmed | None:
    """What a frame says, if it is of a type and form that can be read in passing."""
    try:
        value = from_json(frame)
        match value["type"]:
            case "audio_output":
                return _audio(value)
            case "user_message":
                return _user(value)
            case "assistant_message":
                return _assistant(value)
            case "assistant_prosody":
                return Skimmed("assistant_prosody", id=_text(value["id"]), scores=_scores(value["models"]))
            case "assistant_end":
                return _END
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        pass
    return None


_END = Skimmed("assistant_end")


def _audio(value: dict[str, Any]) -> Skimmed:
    index = value["index"]
    if type(index) is not int:
        raise TypeError
    return Skimmed("audio_output", None, _text(value["id"]), index, _text(value["data"]))


def _user(value: dict[str, Any]) -> Skimmed:
    time = value["time"]
    begin, end = time["begin"], time["end"]
    if type(begin) is not int or type(end) is not int:
        raise TypeError
    from_text, interim = _flag(value.get("from_text", False)), _flag(value.get("interim", False))
    scores = _scores(value["models"])
    return Skimmed("user_message", _said(value), None, None, None, scores, begin, end, from_text, interim)


def _assistant(value: dict[str, Any]) -> Skimmed:
    from_text, quick = _flag(value.get("from_text", False)), _flag(value.get("is_quick_response", False))
    name, scores = _text(value["id"]), _scores(value["models"])
    return Skimmed("assistant_message", _said(value), name, None, None, scores, None, None, from_text, False, quick)


def _said(value: dict[str, Any]) -> str:
    message = value["message"]
    if len(message) != 2:  # tools' words in it, or something new
        raise ValueError
    _text(message["role"])
    return _text(message["content"])


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError
    return value


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError
    return value


def _scores(models: dict[str, Any]) -> Scores | None:
    """The scores, all of them possible ones under EVI's names; `None` if there are none.

    Raises:
        ValueError, TypeError, KeyError, OverflowError: It is something else.
    """
    if not models and type(models) is dict:
        return None
    scores = models["prosody"]["scores"]
    if not scores and type(scores) is dict:
        return None
    if not scores.keys() <= _DOCUMENTED or not sum(map(abs, scores.values())) <= MAX_SCORE:  # nor NaN
        raise ValueError
    return Scores(scores)
