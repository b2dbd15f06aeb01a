"""The parts of messages: shapes inside them, and tolerant fields that accept values of a wrong type."""

import json
import math
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from evi_mcp.protocol.prosody import SCORE_NAMES
from evi_mcp.protocol.redaction import TOO_DEEP, Mask


def json_text(value: Any) -> str:
    """A text as it is, any other JSON value as compact JSON."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        return TOO_DEEP


def _text(value: Any) -> str | None:
    return None if value is None else json_text(value)


Text = Annotated[str | None, BeforeValidator(_text)]
"""A text; any other value becomes its JSON text; `None` if it is absent or `null`."""


MAX_SUPPORTS = 50
"""The most types of commands that a chat may name; EVI has 7."""


def _names(value: Any) -> list[str] | None:
    return [item for item in value if isinstance(item, str)][:MAX_SUPPORTS] if isinstance(value, list) else None


Names = Annotated[list[str] | None, BeforeValidator(_names)]
"""Types of commands; values that are no text are left out."""


class Shape(BaseModel):
    """The base of every shape on the wire: immutable, and unknown fields are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    sentences: ClassVar[frozenset[str]] = frozenset()
    """The fields that hold sentences of the service's own."""

    def masked(self, mask: Mask) -> Self:
        """A copy without secrets. The names of known fields stay; a number that shows a secret becomes `None`."""
        copied = self.model_copy(
            update={name: self._masked(name, value, mask) for name, value in self.__dict__.items()}
        )
        if copied.__pydantic_extra__:
            # Names of unknown fields are text of the service's. A frozen model allows no other way to change them.
            object.__setattr__(copied, "__pydantic_extra__", mask(copied.__pydantic_extra__))
        return copied

    def _masked(self, name: str, value: Any, mask: Mask) -> Any:
        if isinstance(value, Shape):
            return value.masked(mask)
        if isinstance(value, str) and name in self.sentences:
            return mask.said(value)
        return None if mask.hides(value) else mask(value)


MAX_SCORE = 1000.0
"""No real score is so far from 0, and sums of huge ones would not be finite."""


class Prosody(Shape):
    """Expression in a voice: up to 48 scores, mostly 0 to 1, slightly negative ones occur."""

    scores: dict[str, Annotated[float, Field(ge=-MAX_SCORE, le=MAX_SCORE, allow_inf_nan=False)]] = {}

    def _masked(self, name: str, value: Any, mask: Mask) -> Any:
        if name != "scores":
            return super()._masked(name, value, mask)
        return {score if score in SCORE_NAMES else mask(score): number for score, number in value.items()}


class Inference(Shape):
    """What models said of an utterance; `prosody` is `None` for typed text, which has no voice."""

    prosody: Prosody | None = None


MAX_MILLISECONDS = 2**53
"""No real time is so far away, and JSON readers do not agree on larger integers (RFC 8259, section 6)."""


def _rounded(value: Any) -> Any:
    return round(value) if isinstance(value, float) and math.isfinite(value) else value


Milliseconds = Annotated[int, Field(ge=-MAX_MILLISECONDS, le=MAX_MILLISECONDS), BeforeValidator(_rounded)]


class Interval(Shape):
    """When an utterance began and ended, in milliseconds. Inferred: since the start of the chat's audio."""

    begin: Milliseconds | None = None
    end: Milliseconds | None = None


class ChatMessage(Shape):
    """A transcript. `role` is an open set: `user`, `assistant`, `system`, `tool`, `all`, `context`."""

    role: Text = None
    content: Text = None
    tool_call: Any = None
    tool_result: Any = None


def _said(value: Any) -> Any:
    return value if value is None or isinstance(value, dict) else {"content": json_text(value)}


Said = Annotated[ChatMessage | None, BeforeValidator(_said)]
"""A transcript; a value that is no object becomes its `content`."""
