"""The tool calls of a call: which are open, and who has answered."""

from collections import OrderedDict
from dataclasses import dataclass

from evi_mcp.openai_realtime.reading import Message

MAX_CALLS = 1000


@dataclass
class _Call:
    response: str = ""
    name: str = ""
    asked: bool = False
    answer: str | None = None


class CallsAsked:
    """The newest tool calls, by their `call_id`. Each socket of a call sees all of them, and all answers."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, _Call] = OrderedDict()

    def belongs(self, call_id: str, response: str) -> None:
        """A call is part of a response; its arguments may still come."""
        self._known(call_id).response = response

    def asked(self, call: Message) -> None:
        """A call is complete."""
        known = self._known(call["tool_call_id"])
        known.asked, known.name = True, call["name"]

    def answered(self, call_id: str, item_id: str) -> None:
        """There is an answer to a call, whoever wrote it."""
        known = self._known(call_id)
        known.answer = known.answer or item_id

    def dropped(self, call_id: str) -> None:
        """A call was cut before it was complete: nobody is to answer it."""
        self._calls.pop(call_id, None)

    def answer_of(self, call_id: str) -> str | None:
        """The item that answers a call; `None` if there is none."""
        call = self._calls.get(call_id)
        return None if call is None else call.answer

    def name_of(self, call_id: str) -> str | None:
        """The function that was called; `None` if it is not known."""
        call = self._calls.get(call_id)
        return (call.name or None) if call is not None else None

    def others_are_open(self, call_id: str) -> bool:
        """Whether another call of the same response has no answer yet."""
        call = self._calls.get(call_id)
        if call is None or not call.response:
            return False
        return any(
            other.response == call.response and other.answer is None
            for id_, other in self._calls.items()
            if id_ != call_id
        )

    def _known(self, call_id: str) -> _Call:
        found = self._calls.setdefault(call_id, _Call())
        if len(self._calls) > MAX_CALLS:
            self._calls.popitem(last=False)
        return found
