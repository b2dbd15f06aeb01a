"""The responses of a call: what each has said and asked for, and how it ended for the caller.

A response is made faster than it is heard, so it ends twice: `response.done`, and then its audio stops or is cleared.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Literal

from evi_mcp.openai_realtime.reading import Message, Object, text, thing

MAX_RESPONSES = 200
MAX_ITEMS = 1000
"""Of one response; what is over stands by itself."""
OURS = "evi"
"""The key in a response's metadata by which its `response.create` is known again."""
_END = "end of "


def is_end(key: str) -> bool:
    """Whether a place is that of the end of a response, and not of an item."""
    return key.startswith(_END)


@dataclass(eq=False)
class Response:
    """What is known of a response.

    `ours` is the mark that this adapter gave it; `None` if somebody else asked for it. `outside` of the conversation
    means that it is not part of it (`conversation: "none"`). Times are seconds.
    """

    id: str
    ours: str | None = None
    outside: bool = False
    text_only: bool = False
    status: str = "in_progress"
    why: str = ""
    error: Object = field(default_factory=dict)
    spoken: list[str] = field(default_factory=list)
    """The ids of its messages."""
    calls: dict[str, str] = field(default_factory=dict)
    """The ids of its tool calls, by the ids of their items."""
    audio: Literal["none", "playing", "stopped", "cut"] = "none"
    started_at: float = 0.0
    heard_ms: int | None = None
    """How much of its audio the caller has heard, if it was cut."""
    spoken_over: bool = False
    """Whether the caller began to speak while it was heard."""
    told: bool = False
    """Whether its end was published."""
    cut_told: bool = False
    """Whether it was published that the caller cut it."""

    @property
    def end_key(self) -> str:
        """The place of its end."""
        return f"{_END}{self.id}"

    @property
    def done(self) -> bool:
        return self.status != "in_progress"

    @property
    def interrupted(self) -> bool:
        """Whether the caller cut it."""
        return self.why == "turn_detected" or (self.audio == "cut" and self.spoken_over)

    @property
    def is_cut(self) -> bool:
        """Whether some of it was not heard, whoever cut it."""
        return self.audio == "cut" or self.status == "cancelled"

    @property
    def over(self) -> bool:
        """Whether its end is known, for the service and for the caller."""
        goes_on = bool(self.calls) and self.status == "completed"  # with what is made of the answer
        return self.done and (self.audio != "playing" or goes_on)

    def read(self, value: Object) -> None:
        """Takes in what an event says of it."""
        mark = thing(value, "metadata").get(OURS)
        if isinstance(mark, str):
            self.ours = mark
        self.outside = self.outside or ("conversation_id" in value and value["conversation_id"] is None)
        self.text_only = value.get("output_modalities") == ["text"]

    def finish(self, value: Object) -> None:
        """Takes in `response.done`."""
        self.read(value)
        details = thing(value, "status_details")
        self.status = text(value, "status") or "completed"
        if self.status == "in_progress":
            self.status = "completed"
        self.why, self.error = text(details, "reason"), thing(details, "error")

    def ending(self, at_ms: int) -> list[Message]:
        """What its end is in EVI's words: nothing if it only asked for tools, or said nothing."""
        messages: list[Message] = []
        if self.status == "failed":
            messages.append(
                {
                    "type": "error",
                    "code": text(self.error, "code") or text(self.error, "type") or "response_failed",
                    "slug": "response_failed",
                    "message": text(self.error, "message") or "The assistant's answer failed.",
                }
            )
        if not self.spoken or self.text_only:
            return messages
        if self.interrupted:
            return [*messages, self.interruption(at_ms)]
        if self.calls and self.status == "completed":
            return messages
        return [*messages, {"type": "assistant_end", **(self.unheard if self.is_cut else {})}]

    def interruption(self, at_ms: int) -> Message:
        """The `user_interruption`, with what the caller has not heard."""
        return {"type": "user_interruption", "time": at_ms // 1000, **self.unheard}

    @property
    def unheard(self) -> Message:
        """Which messages were not heard to their end, and how much was, in milliseconds, where that is known."""
        heard = {} if self.heard_ms is None else {"heard_ms": self.heard_ms}
        none = self.audio == "none" or self.heard_ms == 0
        return {"message_ids": list(self.spoken), "heard": "none" if none else "part", **heard}


class Responses:
    """The newest responses of a call."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Response] = OrderedDict()

    def get(self, id_: str) -> Response | None:
        """A response, if it is known."""
        return self._known.get(id_)

    def known(self, id_: str) -> Response:
        """A response; made if it is new."""
        if id_ not in self._known:
            self._known[id_] = Response(id_)
            if len(self._known) > MAX_RESPONSES:
                self._known.popitem(last=False)
        return self._known[id_]

    @property
    def playing(self) -> list[Response]:
        """Those that the caller hears now."""
        return [response for response in self._known.values() if response.audio == "playing"]

    @property
    def active(self) -> list[Response]:
        """Those that are not done and belong to the conversation: by the service's rules one at most."""
        return [response for response in self._known.values() if not response.done and not response.outside]

    def of_item(self, item_id: str) -> Response | None:
        """The response that a message or a tool call is part of."""
        found = (
            response for response in self._known.values() if item_id in response.spoken or item_id in response.calls
        )
        return next(found, None)
